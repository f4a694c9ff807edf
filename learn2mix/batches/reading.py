"""Batches read for a loader: asked for ahead, or composed last of samples that were decoded ahead."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._pytree import tree_map

from learn2mix.batches.answers import Answer
from learn2mix.batches.map_reader import MapRequest
from learn2mix.batches.pipeline import Pipeline
from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.batches.stream_requests import PROBE
from learn2mix.batches.zero_lag import AheadDecoder

if TYPE_CHECKING:
    from learn2mix.batches.loader import MixedLoader


class Batches:
    """The batches of one iteration. The error of one is raised, and the next may be asked for, as of torch's loader."""

    def __init__(self, loader: MixedLoader, iteration: int) -> None:
        self._loader, self._iteration = loader, iteration
        self._batches: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = self._loader._read(self._iteration)
        try:
            batch = next(self._batches)
            return batch if self._loader.device is None else to_device(batch, self._loader.device)
        except StopIteration:
            self._loader._release()
            raise
        except Exception:
            self._batches = None
            raise

    def __del__(self) -> None:
        self._loader._release()


def to_device(batch: Any, device: torch.device | str) -> Any:
    """Return a batch with its tensors, and what else has a method ``to`` (a BatchEncoding), on a device."""

    def move(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(device, non_blocking=value.is_pinned())
        return value.to(device) if hasattr(value, "to") else value

    return tree_map(move, batch, is_leaf=lambda value: hasattr(value, "to"))


def read_ahead(loader: MixedLoader, iteration: int) -> Iterator[Answer]:
    """Ask for batches ahead, and yield the answers."""
    sampler, num_workers = loader.sampler, loader.num_workers
    if loader._pipeline is None:
        loader._pipeline = Pipeline(loader._reader, loader.dataset, num_workers, loader._loader_args)
    pipeline = loader._pipeline
    if loader.batch_sampler is None:
        loader._reader.skip = loader.on_error == "skip"
        context = loader._loader_args.get("multiprocessing_context") or multiprocessing
        if num_workers and context.get_start_method() != "fork":
            loader._reader.check_pickling()
        sampler._prepare(num_shards=max(num_workers, 1), max_ahead=num_workers * (loader.prefetch_factor or 0))
        pipeline.feed(sampler._requests(iteration))
    else:
        pipeline.feed(_map_requests(sampler, iteration))
    while not pipeline.drained:
        sampler._check_current(iteration)
        answer = pipeline.answer()
        if answer is not None and answer.generation == sampler._generation:
            if loader.batch_sampler is None:
                sampler._learn(answer)
            if answer.number != PROBE:
                yield answer
    sampler._check_current(iteration)  # another may have drained it
    sampler._end_iteration()


def read_last(loader: MixedLoader, iteration: int) -> Iterator[Answer]:
    """Compose each batch when it is asked for, of samples that were decoded ahead."""
    sampler = loader.sampler
    if loader._decoder is None:
        loader._decoder = AheadDecoder(
            loader.dataset, sampler, loader.num_workers, loader.prefetch_factor or 2, loader._loader_args
        )
    decoder = loader._decoder
    for request in _map_requests(sampler, iteration):
        samples, failed = decoder.samples(request.indices, skip=loader.on_error == "skip")
        yield loader._reader.answer(request, samples, failed)


def _map_requests(sampler: MixedBatchSampler, iteration: int) -> Iterator[MapRequest]:
    for indices in sampler._batches(iteration):
        yield MapRequest(sampler._announced, sampler._generation, indices)
