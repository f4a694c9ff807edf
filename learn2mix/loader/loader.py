"""The loader: hands out numbered batches, knows which one the loop has, and has a state."""

from __future__ import annotations

import multiprocessing
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from learn2mix.batches.sampler import MixedBatchSampler, check_dataset
from learn2mix.batches.settled import passed_on
from learn2mix.checks import check_whole
from learn2mix.history import History
from learn2mix.loader.ahead import AheadDecoder
from learn2mix.loader.arguments import MadeOnce, check_kinds, check_loader_args, place, warn_of_changes
from learn2mix.loader.to_device import to_device
from learn2mix.mixers import Mixer
from learn2mix.streams.requests import PROBE
from learn2mix.streams.stream import MixedStream
from learn2mix.workers.answers import Answer
from learn2mix.workers.map_reader import MapReader, tell_epoch
from learn2mix.workers.pipeline import Pipeline

MOST_NAMED = 20  # samples that could not be read, each with a warning of its own


class MixedLoader(MadeOnce):
    """Loads the batches of a :class:`MixedBatchSampler` or a :class:`MixedStream`, in worker processes if asked to.

    Takes the place and the arguments of ``torch.utils.data.DataLoader``. The process that trains composes the batches,
    workers read them, and each comes back with its number, so that losses find their batch whatever the loop does.
    Lightning saves it with the checkpoint; Accelerate and Hugging Face's Trainer leave it as it is.

    Args:
        dataset: map-style data, with as many samples as the sampler has labels; or a :class:`MixedStream`.
        batch_sampler: composes the batches of ``dataset``; None with a stream.
        num_workers: worker processes; 0 reads in this process.
        zero_lag: whether each batch is composed when it is asked for, of samples that workers decode ahead. Then every
            update acts on the very next batch. Map-style data only, with at least 1 worker.
        on_error: ``"raise"``, or ``"skip"``: a sample that cannot be read, or that ``collate_fn`` drops, costs that
            sample only, with one warning that names it.
        collate_fn: makes a batch of a list of samples; None for torch's. A stream has its own.
        device: where the tensors of a batch go, also those in containers and dataclasses; None leaves them. An
            :class:`learn2mix.data.InMemory` moves there once, as a whole; batches are gathered there, without workers.
        loader_args: what else ``DataLoader`` takes, such as ``pin_memory``, ``prefetch_factor``, ``in_order``,
            ``persistent_workers`` (with a stream and with ``zero_lag`` they always are) or ``worker_init_fn``.

    Raises:
        ValueError: if the numbers of samples and labels differ, or an argument is out of range.
        TypeError: if ``dataset`` or ``batch_sampler`` is of another kind, or an argument is unknown.

    Attributes:
        sampler: the sampler, or the stream; ``stream`` is another name of it.
        skipped: what was left out under ``on_error="skip"``, and how often.

    Example:
        >>> from learn2mix import Learn2Mix
        >>> sampler = MixedBatchSampler([0, 0, 0, 1, 1, 1], Learn2Mix(), batch_size=2)
        >>> loader = MixedLoader(range(6), sampler)
        >>> for batch in loader:
        ...     loader.observe(1.0 + batch)
        >>> loader.lag
        0
    """

    def __init__(
        self,
        dataset: Any,  # not Dataset[Any]: jsonargparse cannot build what is generic
        batch_sampler: MixedBatchSampler | None = None,
        *,
        num_workers: int = 0,
        zero_lag: bool = False,
        on_error: Literal["raise", "skip"] = "raise",
        collate_fn: Callable[[list[Any]], Any] | None = None,
        device: torch.device | str | None = None,
        **loader_args: Any,
    ) -> None:
        self.num_workers = check_whole(num_workers, "num_workers", minimum=int(zero_lag))
        self._loader_args = check_loader_args(loader_args, self.num_workers)
        check_kinds(dataset, batch_sampler, zero_lag, collate_fn)
        if on_error not in ("raise", "skip"):
            raise ValueError(f'on_error must be "raise" or "skip", got {on_error!r}')
        dataset = place(dataset, device, self.num_workers, bool(loader_args.get("pin_memory")))
        self.dataset, self.batch_sampler = dataset, batch_sampler
        self.sampler: MixedBatchSampler | MixedStream = dataset if batch_sampler is None else batch_sampler
        self.stream: Any = self.sampler
        self.zero_lag, self.on_error, self.device = zero_lag, on_error, device
        self.skipped: dict[str, int] = {}
        self.sampler._in_order = self._loader_args.get("in_order") is not False
        persistent = bool(self._loader_args.pop("persistent_workers", False))
        self._keeps_workers = persistent or zero_lag or batch_sampler is None
        self._reader: Any = (
            dataset._reader if batch_sampler is None else MapReader(dataset, collate_fn, skip=on_error == "skip")
        )
        self.collate_fn = self._reader.collate
        self._carrier: Pipeline | None = None  # with the workers
        self._read_by = -1  # the iteration that has them
        self._settings: dict[str, Any] = {}  # of the data set, when these last began an epoch

    @property
    def mixer(self) -> Mixer:
        """What decides the proportions."""
        return self.sampler.mixer

    batch_size: int = passed_on("sampler.batch_size", "Samples per batch and process.")
    lag: int = passed_on("sampler.lag", "Batches composed but not yet observed.")

    @property
    def history(self) -> History:
        """What the batches were asked to be and were: see :attr:`MixedBatchSampler.history`."""
        return self.sampler.history

    @property
    def prefetch_factor(self) -> int | None:
        """Batches in flight per worker; None without workers."""
        return int(self._loader_args.get("prefetch_factor") or 2) if self.num_workers else None

    def __len__(self) -> int:
        """Batches per epoch; a TypeError for a stream, which has no length."""
        if self.batch_sampler is None:
            raise TypeError("MixedLoader: a MixedStream has no length")
        return len(self.batch_sampler)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_carrier": None}  # workers stay where they are

    def set_epoch(self, epoch: int) -> None:
        """Tell map-style data that have a ``set_epoch``, and give them new workers; the batches do not need it."""
        self.sampler.set_epoch(epoch)
        self._carrier = None if tell_epoch(self.dataset, epoch) else self._carrier

    def __iter__(self) -> Iterator[Any]:
        """Begin an epoch, or go on with one that a loaded state was in the middle of."""
        if self.batch_sampler is not None:  # the data set may have changed since
            check_dataset(self.dataset, self.batch_sampler.partition)
        self._carrier = self._carrier if self._carrier is not None and self._carrier.alive else None
        return _Batches(self, self.sampler._begin(None, by_loader=True))

    def _read(self, iteration: int) -> Iterator[Any]:
        sampler = self.sampler
        with sampler._lock:
            sampler._check_current(iteration)
            carrier, self._read_by = self._carrier, iteration
            if carrier is None:
                self._carrier = carrier = _new_carrier(self)
                self._settings = {}
            self._settings = warn_of_changes(self.dataset, self._settings)
            answers = carrier.answers(self._requests(iteration))
        for answer in answers:
            if self._take(answer):
                yield answer.batch if self.device is None else to_device(answer.batch, self.device)
            sampler._check_current(iteration)  # another may have taken the place of this one
        sampler._end_iteration(iteration)

    def _requests(self, iteration: int) -> Iterator[Any]:
        if self.batch_sampler is None:
            self._reader.skip = self.on_error == "skip"
            context = self._loader_args.get("multiprocessing_context") or multiprocessing
            self._reader.check_workers(self.num_workers, forked=context.get_start_method() == "fork")
            self.stream._prepare(max(self.num_workers, 1), self.num_workers * (self.prefetch_factor or 0))
        return self.sampler._requests(iteration)  # not of the loader, which would live on as long as they do

    def _take(self, answer: Answer) -> bool:
        """Take note of an answer; return whether it is a batch for the loop, with a sample that could be read."""
        sampler = self.sampler
        with sampler._lock:
            if answer.generation != sampler._generation:
                return False
            if answer.news:
                self.stream._learn(answer.news)
            if answer.number == PROBE:
                return False
            _count_skipped(answer.skipped, self.skipped)
            sampler._delivery.hand_out(answer.number, answer.kept)
            if answer.batch is None:
                sampler._drop(answer.number)
        return answer.batch is not None

    def _release(self, iteration: int) -> None:
        """End the workers of an iteration that is over, unless they are kept for the next, or it has them already."""
        if not self._keeps_workers and iteration == self._read_by:
            self._carrier = None

    def close(self) -> None:
        """End the worker processes; the next iteration starts new ones."""
        if self._carrier is not None:
            self._carrier.close()

    def observe(
        self,
        losses: Tensor | ArrayLike | None,
        *,
        groups: Sequence[Any] | ArrayLike | None = None,
        weights: Tensor | ArrayLike | None = None,
    ) -> None:
        """Report the losses of the oldest batch that the loop has: see :meth:`MixedBatchSampler.observe`.

        Under ``on_error="skip"`` there is one loss for each sample that is left of it.
        """
        self.sampler.observe(losses, groups=groups, weights=weights)

    def log_mix(self, target: ArrayLike | str | None = "uniform") -> Tensor:
        """Return what to add to the logits of the batch being trained on: see :meth:`MixedBatchSampler.log_mix`."""
        return self.sampler.log_mix(target)

    def observe_validation(self, loss: float | Tensor, group_losses: Tensor | ArrayLike | None = None) -> None:
        """Report the result of a validation run: see :meth:`MixedBatchSampler.observe_validation`."""
        self.sampler.observe_validation(loss, group_losses)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the sampler or stream, which is all that a resumed run needs."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any], *, strict: bool = False) -> None:
        """Go on where a saved state was, as far as it fits; with ``strict=True`` it has to fit.

        A Trainer calls this and cannot ask for less, so what does not fit is dropped with a warning.
        """
        self.sampler.load_state_dict(state, strict=strict)


class ZeroLagLoader(MixedLoader):
    """:class:`MixedLoader` with ``zero_lag=True``, under its earlier name."""

    def __init__(self, dataset: Any, batch_sampler: MixedBatchSampler, *, num_workers: int, **loader_args: Any) -> None:
        super().__init__(dataset, batch_sampler, num_workers=num_workers, zero_lag=True, **loader_args)


class _Batches:
    """The batches of one iteration. The error of one is raised, and the next may be asked for, as of torch's loader."""

    def __init__(self, loader: MixedLoader, iteration: int) -> None:
        self._loader, self._iteration = loader, iteration
        self._batches: Any = None  # a generator, once it is asked
        loader.sampler._watch(self)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = self._loader._read(self._iteration)
        if self._batches.gi_running:
            raise RuntimeError(
                "MixedLoader: two threads take batches of one iteration at the same time, so nobody knows which batch "
                "losses are of; let one thread take them, and hand them on in their order (queue.Queue)"
            )
        try:
            return next(self._batches)
        except StopIteration:
            self._loader._release(self._iteration)
            raise
        except Exception:
            self._batches = None
            raise
        except BaseException:  # Ctrl-C: in the middle of whatever, and it has ended the workers too
            self._loader.close()
            raise

    def __del__(self) -> None:
        self._loader._release(self._iteration)


def _new_carrier(loader: MixedLoader) -> Pipeline:
    sampler, reader, num_workers, loader_args = loader.sampler, loader._reader, loader.num_workers, loader._loader_args
    at = sampler._composition
    if (at.composed if loader._keeps_workers else at.position) and loader_args.get("generator") is None:
        # A run that was not stopped has its workers by now: to seed these draws nothing from the global generator.
        seed = zlib.crc32(torch.get_rng_state().numpy().tobytes())
        loader_args = loader_args | {"generator": torch.Generator("cpu").manual_seed(seed)}
    if loader.batch_sampler is None or not loader.zero_lag:
        return Pipeline(reader, loader.dataset, num_workers, loader_args, sampler.rank)
    max_ahead = num_workers * (loader.prefetch_factor or 0)
    return AheadDecoder(reader, loader.batch_sampler, num_workers, max_ahead, loader_args)


def _count_skipped(samples: Sequence[str], counts: dict[str, int]) -> None:
    for sample in samples:
        counts[sample] = counts.get(sample, 0) + 1
        if counts[sample] == 1 and len(counts) <= MOST_NAMED:
            warnings.warn(f"MixedLoader: skipped {sample}; loader.skipped counts every skipped sample", stacklevel=4)
