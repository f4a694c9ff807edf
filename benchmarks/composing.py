"""Microseconds per batch of indices, from 60,000 samples: ours, torch's, the peers', and the floor.

A turn is some epochs, so that what a sampler does once in a while is shared by its batches. Each contender is an
iterable, and one run through it is an epoch.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, RandomSampler

from benchmarks.peers import PEERS
from benchmarks.rows import Row
from benchmarks.timing import microseconds_each, take_turns
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler

MEASURE = "composing"
TORCH = "torch BatchSampler(RandomSampler)"
GROUPED = 'ours: fixed mix, order="grouped"'
SHUFFLED = 'ours: fixed mix, order="shuffled"'
OBSERVED = "ours: Learn2Mix, losses observed every step"
LISTS = "floor: slices of a shuffled array, as lists"
ARRAYS = "floor: slices of a shuffled array"
OURS = (GROUPED, SHUFFLED, OBSERVED)
EPOCHS = 10  # in a turn of all but the peers: what our samplers shuffle at once lasts for up to 5


@dataclass(frozen=True)
class Shape:
    """How many groups, and how large a batch; as many samples as there are groups, if those are more."""

    num_groups: int
    batch_size: int
    least_samples: int = 60_000

    @property
    def num_samples(self) -> int:
        return max(self.least_samples, self.num_groups)

    @property
    def num_batches(self) -> int:
        return self.num_samples // self.batch_size

    @cached_property
    def labels(self) -> np.ndarray:
        """Every group has a sample; the rest are drawn, so groups differ in size."""
        drawn = np.random.default_rng(0).integers(self.num_groups, size=self.num_samples)
        drawn[: self.num_groups] = np.arange(self.num_groups)
        return drawn


SMALL_BATCHES = [Shape(10, 8), Shape(10, 32), Shape(10, 128), Shape(10, 1000)]
MANY_GROUPS = [Shape(10, 1000), Shape(100, 1000), Shape(1000, 1000), Shape(10_000, 1000), Shape(100_000, 1000)]
SHAPES = [*SMALL_BATCHES, *MANY_GROUPS[1:]]
WITH_PEERS = {Shape(10, 32), Shape(10, 1000), Shape(1000, 1000), Shape(10_000, 1000)}


def torch_random(shape: Shape) -> Iterable[list[int]]:
    return BatchSampler(RandomSampler(range(shape.num_samples)), shape.batch_size, drop_last=True)


def fixed_mix(shape: Shape, order: str) -> MixedBatchSampler:
    sizes = {"batch_size": shape.batch_size, "num_batches": shape.num_batches}
    return MixedBatchSampler(shape.labels, FixedMix("uniform"), order=order, **sizes)


class Observed:
    """The mix follows the losses of every step; they are one tensor, made beforehand, as a model would leave it."""

    def __init__(self, shape: Shape) -> None:
        sizes = {"batch_size": shape.batch_size, "num_batches": shape.num_batches}
        self.sampler = MixedBatchSampler(shape.labels, Learn2Mix(0.1), **sizes)
        self.losses = torch.rand(shape.batch_size, generator=torch.Generator().manual_seed(0))

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.sampler:
            yield batch
            self.sampler.observe(self.losses)


class Floor:
    """What no sampler can be faster than: shuffle once an epoch, then slice."""

    def __init__(self, shape: Shape, *, as_lists: bool) -> None:
        self.shape, self.as_lists = shape, as_lists

    def __iter__(self) -> Iterator[Any]:
        size = self.shape.batch_size
        order = torch.randperm(self.shape.num_samples).numpy()
        for start in range(0, self.shape.num_batches * size, size):
            batch = order[start : start + size]
            yield batch.tolist() if self.as_lists else batch


CONTENDERS: dict[str, Callable[[Shape], Iterable[Any]]] = {
    TORCH: torch_random,
    GROUPED: partial(fixed_mix, order="grouped"),
    SHUFFLED: partial(fixed_mix, order="shuffled"),
    OBSERVED: Observed,
    LISTS: partial(Floor, as_lists=True),
    ARRAYS: partial(Floor, as_lists=False),
}


def measure(
    shapes: Sequence[Shape] = SHAPES, duration: float = 10.0, *, with_peers: Container[Shape] = WITH_PEERS
) -> list[Row]:
    """A row for each contender and shape; of a peer that is not installed, a row that says so."""
    return [row for shape in shapes for row in _measure(shape, duration, with_peers=shape in with_peers)]


def measure_own(shape: Shape, duration: float = 5.0) -> list[Row]:
    """The rows of a shape that are of this library, beside torch and the floor, which take turns with it."""
    return [row for row in measure([shape], duration, with_peers=()) if row.name in OURS]


def _measure(shape: Shape, duration: float, *, with_peers: bool) -> list[Row]:
    contenders, notes = {name: make(shape) for name, make in CONTENDERS.items()}, {}
    for peer in PEERS if with_peers else ():
        try:
            contenders[peer.name] = peer.make(shape)
        except ImportError:
            notes[peer.name] = f"{peer.package} is not installed"
    turns = {
        name: partial(microseconds_each, batches, shape.num_batches, EPOCHS if name in CONTENDERS else 1)
        for name, batches in contenders.items()
    }
    best = take_turns(turns, duration)

    def row(name: str) -> Row:
        sizes = (shape.num_groups, shape.batch_size, shape.num_samples)
        if name in notes:
            return Row(MEASURE, name, *sizes, None, "µs a batch", None, notes[name])
        return Row(MEASURE, name, *sizes, best[name], "µs a batch", best[name] / best[TORCH])

    return [row(name) for name in [*contenders, *notes]]
