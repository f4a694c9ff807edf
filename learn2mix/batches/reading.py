"""Batches read for a loader: asked for ahead, or composed last of samples that were decoded ahead."""

from __future__ import annotations

import multiprocessing
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from learn2mix.batches.delivery import Handed
from learn2mix.batches.map_reader import MapRequest
from learn2mix.batches.pipeline import Pipeline
from learn2mix.batches.stream_requests import PROBE
from learn2mix.batches.zero_lag import AheadDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from learn2mix.batches.answers import Answer
    from learn2mix.batches.sampler import MixedBatchSampler

__all__ = ["Batches", "Reading"]

MOST_NAMED = 20  # samples that could not be read, each with a warning of its own


class Reading:
    """The half of a loader that reads.

    Attributes:
        sampler: the sampler, or the stream.
        batch_sampler: the sampler; None for a stream.
        skipped: what was left out, and how often.
    """

    dataset: Any
    sampler: Any
    batch_sampler: MixedBatchSampler | None
    num_workers: int
    on_error: str
    device: torch.device | str | None
    skipped: dict[str, int]
    collate_fn: Callable[[list[Any]], Any]
    _loader_args: dict[str, Any]
    _keeps_workers: bool
    _reader: Any
    _pipeline: Pipeline | None
    _decoder: AheadDecoder | None

    @property
    def prefetch_factor(self) -> int | None:
        """Batches that each worker has on its way; None without workers."""
        return int(self._loader_args.get("prefetch_factor") or 2) if self.num_workers else None

    def _requested(self, iteration: int) -> Iterator[Any]:
        """Ask for batches ahead, and hand out the answers."""
        max_ahead = self.num_workers * (self.prefetch_factor or 0)
        if self._pipeline is None:
            self._pipeline = self._new_pipeline()
        pipeline = self._pipeline
        if self.batch_sampler is None:
            self._reader.skip = self.on_error == "skip"
            context = self._loader_args.get("multiprocessing_context") or multiprocessing
            if self.num_workers and context.get_start_method() != "fork":
                self._reader.check_pickling()
            self.sampler._prepare(num_shards=max(self.num_workers, 1), max_ahead=max_ahead)
            pipeline.feed(self.sampler._requests(iteration))
        else:
            pipeline.feed(_map_requests(self.batch_sampler, iteration))
        while not pipeline.drained:
            self.sampler._check_current(iteration)
            answer = pipeline.answer()
            if answer is not None and answer.generation == self.sampler._generation:
                yield from self._hand_out(answer)
        self.sampler._check_current(iteration)  # another may have drained it
        self.sampler._end_iteration()

    def _release(self) -> None:
        """End the workers of an iteration that is over, unless they are kept for the next."""
        if not self._keeps_workers:
            self._pipeline = None

    def _new_pipeline(self) -> Pipeline:
        return Pipeline(self._reader, self.dataset, self.num_workers, self._loader_args)

    def _composed_last(self, iteration: int) -> Iterator[Any]:
        """Compose each batch when it is asked for, of samples that were decoded ahead."""
        assert self.batch_sampler is not None
        if self._decoder is None:
            self._decoder = AheadDecoder(
                self.dataset, self.batch_sampler, self.num_workers, self.prefetch_factor or 2, self._loader_args
            )
        decoder, skip = self._decoder, self.on_error == "skip"
        for indices in self.batch_sampler._batches(iteration):
            number = self.batch_sampler._announced
            samples, failed = decoder.samples(indices, skip=skip)
            batch, kept, skipped = (
                self._reader.collated(samples, indices, failed) if skip else (self.collate_fn(samples), None, [])
            )
            yield from self._hand_out_batch(number, batch, kept, skipped)

    def _hand_out(self, answer: Answer) -> Iterator[Any]:
        if self.batch_sampler is None:
            self.sampler._learn(answer)
        if answer.number != PROBE:
            yield from self._hand_out_batch(answer.number, answer.batch, answer.kept, answer.skipped)

    def _hand_out_batch(self, number: int, batch: Any, kept: list[int] | None, skipped: list[str]) -> Iterator[Any]:
        for sample in skipped:
            self._note_skipped(sample)
        self.sampler._delivery.hand_out(Handed(number, kept))
        if batch is None:  # no sample of it could be read
            self.sampler._drop(number)
        else:
            yield batch

    def _note_skipped(self, sample: str) -> None:
        self.skipped[sample] = self.skipped.get(sample, 0) + 1
        if self.skipped[sample] == 1 and len(self.skipped) <= MOST_NAMED:
            warnings.warn(f"MixedLoader: skipped {sample}; loader.skipped counts every skipped sample", stacklevel=4)

    def _move(self, batch: Any) -> Any:
        """Return a batch with its tensors on the device that was asked for."""

        def move(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.to(self.device, non_blocking=value.is_pinned())
            return value.to(self.device) if hasattr(value, "to") else value  # such as a BatchEncoding

        return batch if self.device is None else tree_map(move, batch, is_leaf=lambda value: hasattr(value, "to"))


class Batches:
    """The batches of one iteration. The error of one is raised, and the next may be asked for, as of torch's loader.

    Args:
        read: begins to read, or goes on.
        move: puts a batch where it is wanted.
        release: called once when nothing more is to be read.
    """

    def __init__(
        self, read: Callable[[], Iterator[Any]], move: Callable[[Any], Any], release: Callable[[], None]
    ) -> None:
        self._read, self._move, self._release = read, move, release
        self._batches: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = self._read()
        try:
            return self._move(next(self._batches))
        except StopIteration:
            self._release()
            raise
        except Exception:
            self._batches = None
            raise

    def __del__(self) -> None:
        self._release()


def _map_requests(sampler: MixedBatchSampler, iteration: int) -> Iterator[MapRequest]:
    for indices in sampler._batches(iteration):
        yield MapRequest(sampler._announced, sampler._generation, indices)
