"""What carries the batches of a sampler to the loop, where that is torch's loader and not ours.

A batch sampler is not told who iterates it. The call stack at that moment says it: torch's loader asks for the iterator
itself, or a wrapper that Accelerate put around the sampler does while torch's loader waits for it. The attributes of
torch's iterator that are read here are in all versions from 2.4 on; without them less is known, and nothing breaks.
"""

from __future__ import annotations

import sys
import weakref
from functools import partial
from types import FrameType
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter
from torch.utils.data.distributed import DistributedSampler

ACCELERATE = "accelerate.data_loader"
SPLITTERS = {"BatchSamplerShard", "DataLoaderDispatcher", "IterableDatasetShard"}  # among the processes, of Accelerate
TRAINER, SEARCH = ".loops.fit_loop", ".tuner."  # Lightning's; in a search callbacks are taken out
STATEFUL_WORKER = "torchdata.stateful_dataloader"  # saves and restores what it iterates
THREAD_OF_NODES = "torchdata.nodes._populate_queue"  # fetches ahead of the loop and saves a state with each item
DEPTH = 30  # frames between the loop and the sampler, at most


class TorchLoader:
    """The iterator of a ``torch.utils.data.DataLoader`` that draws from a sampler."""

    def __init__(self, iterator: Any) -> None:
        # The counts outlive the iterator: next(iter(loader)) is observed when that is gone. Not the iterator itself is
        # held, for its workers end with it; nor does the iterator hold this.
        self._counts: dict[str, Any] = vars(iterator)
        at_end = partial(call_if_alive, weakref.WeakMethod(self._keep_counts))
        self._ends_with: weakref.ref[Any] | None = weakref.ref(iterator, at_end)
        num_workers = int(getattr(iterator, "_num_workers", 0))
        self._max_ahead = num_workers * int(getattr(iterator, "_prefetch_factor", None) or 0)  # drawn, not handed out
        self.in_order = num_workers == 0 or bool(getattr(iterator, "_in_order", True))  # as drawn
        self.dataset = getattr(iterator, "_dataset", None)
        self.collates = bool(getattr(iterator, "_auto_collation", False))  # makes one batch of several that it draws
        # What it draws from: another object in each of its epochs, made before the last one is gone. So far none, where
        # it asks for the sampler's iterator itself.
        self._drawn_from = id(self._counts.get("_sampler_iter"))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_counts": self._last_counts(), "_ends_with": None}

    @property
    def num_handed(self) -> int | None:
        """Batches that the loop has got in this iteration; None where that is not known."""
        return self._counts.get("_num_yielded")

    @property
    def iterator(self) -> Any:
        """The iterator itself; None once it is gone."""
        return None if self._ends_with is None else self._ends_with()

    def repeats(self, before: TorchLoader | None) -> bool:
        """Whether it goes on with the epoch that it was in ``before``, in which a wrapper begins the sampler again."""
        if before is None or self.iterator is None or self.iterator is not before.iterator:
            return False
        return self._drawn_from == before._drawn_from

    def num_lost(self, num_drawn: int) -> int:
        """Return how many of the batches drawn in this iteration never reach the loop.

        A wrapper of the sampler left them out, or they failed.
        """
        handed, sent, received = self._last_counts().values()
        if handed is None:
            return 0
        if sent is None or received is None:  # no workers, or not known
            return max(num_drawn - int(handed) - self._max_ahead, 0)
        return int(num_drawn - sent + received - handed)

    def _keep_counts(self, _: Any) -> None:
        self._counts = self._last_counts()

    def _last_counts(self) -> dict[str, Any]:
        return {name: self._counts.get(name) for name in ("_num_yielded", "_send_idx", "_rcvd_idx")}


def call_if_alive(method: weakref.WeakMethod[Any], *args: Any) -> Any:
    """Call a method of an object that may be gone, and return what it returns; None then."""
    bound = method()
    return None if bound is None else bound(*args)


def find_torch_loader() -> TorchLoader | None:
    """Return torch's loader on whose behalf the caller is called; None where there is none."""
    for caller in _callers("torch.utils.data.dataloader", "torchdata.stateful_dataloader"):
        if isinstance(caller, _BaseDataLoaderIter):
            return TorchLoader(caller)
    return None


class LoopsAhead:
    """How many batches the loops on the call stack fetch before they train on the first of them.

    Accelerate's loader holds one back, to know which is the last; so does Lightning's where a loader has no length,
    which it looks up once it has the iterator that is being made now.
    """

    def __init__(self) -> None:
        self._num_accelerate = int(any(module == ACCELERATE for module, _ in _frames()))
        fetchers = _callers("pytorch_lightning.loops.fetchers", "lightning.pytorch.loops.fetchers")
        self._fetchers = weakref.WeakSet(fetchers)

    def __getstate__(self) -> dict[str, Any]:
        return {"_num_accelerate": self.count, "_fetchers": []}

    @property
    def count(self) -> int:
        """That many, by now."""
        return self._num_accelerate + sum(getattr(fetcher, "length", 0) is None for fetcher in self._fetchers)


def refuse_second_split(whose: str, num_replicas: int, loader: TorchLoader | None) -> None:
    """Raise a RuntimeError if a wrapper splits the batches, which are split already, over the processes once more."""
    wrapper = None if loader is None else getattr(loader.iterator, "_index_sampler", None)
    for splitter in (*_callers(ACCELERATE), wrapper, getattr(wrapper, "sampler", None)):
        name, state = type(splitter).__name__, getattr(splitter, "state", splitter)
        attribute = "num_replicas" if isinstance(splitter, DistributedSampler) else "num_processes"
        num_processes = getattr(splitter, attribute, getattr(state, attribute, 1))
        if (name in SPLITTERS or attribute == "num_replicas") and num_processes > 1:
            raise RuntimeError(
                f"{whose}: a {name} gives each of {num_processes} processes some of its batches, but they are parts of "
                f"global batches over {num_replicas} already, so most would be lost; use MixedLoader, which "
                "Accelerate's prepare leaves as it is, or DataLoader(dataset, batch_sampler=sampler), without it"
            )


def refuse_repeats(whose: str, loader: TorchLoader | None, before: TorchLoader | None, in_flight: int) -> None:
    """Raise a RuntimeError if a wrapper begins an epoch while batches of the last one are on their way to the loop."""
    if loader is not None and in_flight and loader.repeats(before):
        raise RuntimeError(
            f"{whose}: one iterator of a DataLoader goes over it epoch after epoch (as of timm's MultiEpochsDataLoader "
            f"or ultralytics' InfiniteDataLoader), so an epoch begins while {in_flight} batch(es) of the last one are "
            "on their way to the loop; to keep the workers, use MixedLoader(dataset, sampler, num_workers=..., "
            "persistent_workers=True), or a DataLoader with persistent_workers=True"
        )


def refuse_second_skip(whose: str, position: int) -> None:
    """Raise a RuntimeError if Accelerate leaves out the first batches of an epoch whose first batches were drawn."""
    for skipper in _callers(ACCELERATE):
        if position and getattr(skipper, "skip_batches", 0):
            raise RuntimeError(
                f"{whose}: the state that was loaded goes on after batch {position} of the epoch by itself, and "
                f"skip_first_batches would leave out {skipper.skip_batches} more; iterate the loader as it is"
            )


def refuse_wrapping(sampler: Any) -> None:
    """Raise a ValueError if a batch sampler of torch's makes batches of this sampler's batches."""
    for wrapper in _callers("torch.utils.data.sampler"):
        if getattr(wrapper, "sampler", None) is sampler:
            name = type(sampler).__name__
            raise ValueError(
                f"sampler: a {name} gives whole batches, but is used as sampler=, which makes batches of its batches; "
                "pass DataLoader(dataset, batch_sampler=sampler) without a batch_size, or MixedLoader(dataset, sampler)"
            )


def called_by(part: str) -> bool:
    """Whether a function is on the call stack whose module has this part in its name."""
    return any(part in module for module, _ in _frames())


def trained_by_trainer() -> int:
    """Return how many batches Lightning's fit loop had, with those before a stop; 0 where none is on the call stack."""
    loops = _callers("pytorch_lightning.loops.fit_loop", "lightning.pytorch.loops.fit_loop")
    return max((getattr(loop, "total_batch_idx", -1) + 1 for loop in loops), default=0)


def _callers(*modules: str) -> list[Any]:
    """Return the objects whose methods are on the call stack, of classes defined in some modules.

    To ask a frame for its locals makes a copy of them all, which lives as long as the frame: a loader that the user's
    frame deletes would live on. So no other frame is asked.
    """
    return [frame.f_locals.get("self") for module, frame in _frames() if module.startswith(modules)]


def _frames() -> list[tuple[str, FrameType]]:
    """Return modules and frames on the call stack, but none of this file: what holds its own frame is never freed."""
    frames: list[tuple[str, FrameType]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(frames) < DEPTH:
        if frame.f_globals is not globals():
            frames.append((str(frame.f_globals.get("__name__", "")), frame))
        frame = frame.f_back
    return frames
