"""Batches of iterable data: composed in the process that trains, read by whoever answers its requests."""

from __future__ import annotations

import inspect
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.distributed import ProcessGroup
from torch.utils.data import IterableDataset, default_collate, get_worker_info

from learn2mix.batches.delivery import BATCHED_TWICE
from learn2mix.batches.lock import locked, snapshot
from learn2mix.batches.resume import fit_stream_state, state_of
from learn2mix.batches.torch_loader import find_torch_loader
from learn2mix.checks import check_function, check_whole, did_you_mean
from learn2mix.feedback.pending import FIRST
from learn2mix.feedback.processes import Processes
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.mixes import by_name
from learn2mix.streams.ends import ON_EXHAUSTED
from learn2mix.streams.reader import StreamReader
from learn2mix.streams.requests import Requesting
from learn2mix.streams.shards import WHOLE
from learn2mix.streams.sources import name_sources


class MixedStream(Requesting, IterableDataset[Any]):
    """Composes each batch by a mixer's proportions from sources that can only be iterated.

    Give it to :class:`learn2mix.MixedLoader`, or without workers to ``DataLoader(stream, batch_size=None)``: both give
    collated batches. The process that trains composes them; workers read them, and keep the sources open across epochs.

    How a source is split over the workers and processes that read it:

    - map-style data: by index, each sample by one of them;
    - a source with a method ``shard(num_shards=, index=)`` (Hugging Face's) and one that asks
      ``torch.utils.data.get_worker_info()`` split themselves, also by rank where they ask for it or say so;
    - any other is read whole by each, which must see the same order. Do costly work on samples in ``decode_fn`` or
      ``collate_fn``, which see only the part that is used.

    Args:
        sources: a mapping from group names to iterables, or a sequence of iterables; at least 2. Each must give the
            same samples in every pass. One that has ``state_dict`` and ``load_state_dict`` resumes by them.
        mixer: decides the proportions; one per stream. Its prior is by the sizes of the sources, or uniform where one
            has no ``len``.
        batch_size: samples per batch and process, at least 1; or one per source, by name: then a batch holds the
            average of these numbers, weighted by its mix.
        seed: whole number in [0, 2 ** 64), for the shuffling.
        on_exhausted: what the end of a source does: ``"restart"`` begins its next pass, and the stream has no end;
            ``"stop_first"`` ends the epoch before the first batch that cannot be filled; ``"stop_all"`` restarts
            sources until each was drawn to its end; ``"drop"`` draws each sample once, and a source that is used up
            leaves the mix (the last batch may be smaller; samples fewer than the processes are left out). Except with
            ``"restart"``, each epoch reads the sources from their beginning, each worker all of them, and tells its
            number to those that have a ``set_epoch``.
        collate_fn: makes a batch of a list of samples; None for torch's.
        decode_fn: makes a sample of what a source gives; called by the worker that uses the sample.
        shuffle_buffer: samples of each source from which to draw at random; 0 for the order of the source. It fills
            while samples are drawn, so the first of a pass are shuffled less. Map-style data are shuffled in blocks of
            so many samples.
        order: ``"grouped"`` gives source after source; ``"shuffled"`` mixes them within each batch.
        num_replicas: how many processes share each global batch; None asks the process group.
        rank: which of them this is; None asks the process group.
        process_group: as for :class:`learn2mix.MixedBatchSampler`.

    Raises:
        ValueError: if there are fewer than 2 sources, a number is out of range, ``on_exhausted`` is unknown or
            ``mixer`` belongs to another stream; also while iterating, if a source is empty, cannot begin again, ends
            before the first batch of an epoch, or has no share where ``"stop_all"`` waits for it.
        TypeError: if a source is no iterable of samples, a name neither an integer, a string nor a tuple of them, a
            number not whole, or ``mixer`` no mixer.
        RuntimeError: while iterating, if a source fails or its order differs between workers.

    Example:
        >>> from learn2mix import FixedMix
        >>> sources = {"a": range(4), "b": range(100, 200)}
        >>> stream = MixedStream(sources, FixedMix([0.75, 0.25]), batch_size=4)
        >>> batches = iter(stream)
        >>> next(batches), next(batches)
        (tensor([  0,   1,   2, 100]), tensor([  3,   0,   1, 101]))
    """

    def __init__(
        self,
        sources: Mapping[Any, Any] | Sequence[Any],
        mixer: Mixer,
        *,
        batch_size: int | Mapping[Any, int],
        seed: int = 0,
        on_exhausted: str = "restart",
        collate_fn: Callable[[list[Any]], Any] | None = None,
        decode_fn: Callable[[Any], Any] | None = None,
        shuffle_buffer: int = 0,
        order: Literal["shuffled", "grouped"] = "grouped",
        num_replicas: int | None = None,
        rank: int | None = None,
        process_group: ProcessGroup | None = None,
        **removed: Any,
    ) -> None:
        _check_removed(removed)
        if on_exhausted not in ON_EXHAUSTED:
            raise ValueError(f"on_exhausted must be one of {', '.join(map(repr, ON_EXHAUSTED))}, got {on_exhausted!r}")
        for name, function in (("collate_fn", collate_fn), ("decode_fn", decode_fn)):
            check_function(function, name)
        named = name_sources(sources)
        sizes = _check_batch_sizes(batch_size, [source.name for source in named])
        super().__init__(
            named,
            mixer,
            on_exhausted,
            sizes,
            batch_size=batch_size if sizes is None else int(max(sizes)),
            seed=seed,
            order=order,
            processes=Processes(num_replicas, rank, process_group),
            sizes=[np.nan if source.size is None else source.size for source in named],
        )
        self._shuffle_buffer = check_whole(shuffle_buffer, "shuffle_buffer", minimum=0)
        self._reader = StreamReader(named, default_collate if collate_fn is None else collate_fn, decode_fn)

    def __iter__(self) -> Iterator[Any]:
        """Begin an epoch, or go on with one that a loaded state was in the middle of."""
        worker = get_worker_info()
        if worker is not None:
            return self._in_worker(worker.id, worker.num_workers)
        loader = find_torch_loader()
        batched_twice = loader is not None and loader.collates
        if batched_twice and not self.mixer.needs_losses:
            raise ValueError(f"MixedStream: {BATCHED_TWICE}")
        if batched_twice:  # what is observed will be refused
            warnings.warn(f"MixedStream: {BATCHED_TWICE}", stacklevel=2)
        iteration, self._residue = self._begin(loader), None
        self._delivery.batched_twice = batched_twice
        self._prepare(num_shards=1, max_ahead=0)
        batches = self._answered(iteration)
        if loader is None:
            self._watch(batches)
        return batches

    def _sizes(self) -> Any:
        if self._sizes_so_far is None:
            shards = self._shards.lengths
            by_shard = np.where((shards > 0).all(axis=1), shards.sum(axis=1), np.nan)
            self._sizes_so_far = np.where(self._ends.lengths > 0, self._ends.lengths, by_shard)
        return self._sizes_so_far

    def _identity(self) -> dict[str, int]:
        fingerprints = [source.fingerprint for source in self._reader.sources]
        identity = {"sources": zlib.crc32(repr((self.group_names, fingerprints)).encode())}
        if (batch := self._last_observed) is not None:  # of which it is known on every process
            shard = batch.number % self._shards.num_shards
            for source in batch.counts.nonzero()[0].tolist():
                found = self._firsts.get((source, WHOLE), self._firsts.get((source, shard), 0))
                identity[f"{FIRST} {self.group_names[source]!r}"] = found
        return identity | {"number of workers": self._shards.num_parts}

    @snapshot
    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs: numbers, strings and lists; any process may ask alone.

        A resumed run composes the batches that were not observed again, by the same mixes.
        """
        return self._state()

    def _state(self) -> dict[str, Any]:
        state = state_of(self)
        drawn = np.array(state["draws"]) - (self._epoch_start if self._ends.stops else 0)
        shards = self._shards.state_dict(state["composed"], len(state["ahead"]), drawn, self._split[0])
        return {
            **state,
            "on_exhausted": self.on_exhausted,
            "shuffle_buffer": self._shuffle_buffer,
            "batch_sizes": None if self._batch_sizes is None else self._batch_sizes.tolist(),
            "epoch_start": self._epoch_start.tolist(),
            "ends": {"lengths": self._ends.lengths.tolist()},
            **shards,
            "orders": self._orders.state_before(drawn, shards["shards"]["drawn"], self._shards.split_by_process),
            "residue": self._residue,
        }

    @locked
    def load_state_dict(self, state: dict[str, Any], *, strict: bool = True) -> None:
        """Go on where a saved state was; the next iterator begins there, also in the middle of an epoch.

        Reads the running pass of each source again up to there, unless it has a state of its own. The number of workers
        may be another, and so may the sources: those of the same name go on. Settings of this stream and its mixer win
        over those in the state, with a warning; the seed is the state's.

        Args:
            state: what :meth:`state_dict` returned.
            strict: refuse a state of another global batch size or ``on_exhausted``; False begins an epoch.

        Raises:
            ValueError: if the state does not fit; nothing is changed then.
        """
        state = fit_stream_state(state, self, strict=strict)
        self._go_on_from(state)
        self._reader.begin_anew()
        self._epoch_start = np.array(state["epoch_start"], dtype=np.int64)
        self._shards.load_state_dict(state)
        self._ends.recall(state["ends"]["lengths"])
        self._ends.begin_epoch()
        self._sizes_so_far = None
        self._orders.load_state(state.get("orders", []))
        self._firsts.clear()
        self._residue = state.get("residue")


def _check_removed(removed: dict[str, Any]) -> None:
    if removed.pop("prefetch_factor", None) is not None:
        message = "MixedStream: prefetch_factor has no effect any more; give it to the loader"
        warnings.warn(message, DeprecationWarning, stacklevel=3)
    if removed:
        wrong = next(iter(removed))
        hint = did_you_mean(wrong, list(inspect.signature(MixedStream).parameters))
        raise TypeError(f"MixedStream: unexpected keyword argument {wrong!r}{hint}")


def _check_batch_sizes(batch_size: Any, names: list[Any]) -> NDArray[np.float64] | None:
    """Return the samples that a batch of each source alone has, shape ``(num_sources,)``; None for one number."""
    if not isinstance(batch_size, Mapping):
        return None
    numbers = by_name(batch_size, "batch_size", names, kind="number")
    return np.array(
        [float(check_whole(one, f"batch_size of {name!r}")) for name, one in zip(names, numbers, strict=True)]
    )
