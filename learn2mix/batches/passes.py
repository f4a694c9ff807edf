"""Endless passes over each group, each pass freshly shuffled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learn2mix.batches.split import random_generator
from learn2mix.checks import Counts
from learn2mix.partition import Partition

Array = NDArray[Any]

BLOCK = 1024  # draws to shuffle at a time where a group is smaller than that
SPARE = 1 << 22  # what that may add to the cache in all: 16 MiB of int32


class Passes:
    """Endless passes over each group, each pass freshly shuffled.

    Draw number ``d`` of group ``g`` is a pure function of ``(seed, g, d)``: nothing has to be saved to go on, and any
    process can compute any part. One block of whole passes a group is cached, so consecutive draws are cheap.

    Example:
        >>> from learn2mix import Partition
        >>> passes = Passes(Partition.by_class(["cat", "cat", "cat", "dog"]), seed=0)
        >>> sorted(passes.draw(np.array([0, 0]), np.array([3, 2])).tolist())
        [0, 1, 2, 3, 3]
    """

    def __init__(self, partition: Partition, seed: int) -> None:
        self._partition, self._seed = partition, seed
        wanted = min(BLOCK, SPARE // partition.num_groups)
        # Whole passes a block: small groups are shuffled many passes at a time, or the calls would cost more.
        self._num_passes = np.maximum(wanted // np.maximum(partition.sizes, 1), 1)
        self._length = self._num_passes * partition.sizes
        self._start = self._length.cumsum() - self._length  # of each group's block in the cache
        self._cache: Array = np.empty(int(self._length.sum()), dtype=partition.index_dtype)
        self._first = np.zeros(partition.num_groups, dtype=np.int64)  # number of the first draw in the cached block
        self._stop = np.zeros(partition.num_groups, dtype=np.int64)  # and of the first after it: nothing is cached yet
        self._count_up = np.arange(0)

    def draw(self, first: Counts, counts: Counts) -> Array:
        """Return data set indices, group after group: ``counts`` of each, after the ``first`` that came before."""
        ends = counts.cumsum()
        if len(self._count_up) != ends[-1]:
            self._count_up = np.arange(ends[-1])
        slots = (self._start + first - self._first - ends + counts).repeat(counts)
        slots += self._count_up
        uncached = (first < self._first) | (first + counts > self._stop)
        drawn: Array = self._cache.take(slots, mode="clip")  # anything where a group is not cached
        if uncached.any():
            for group in (uncached & (counts > 0)).nonzero()[0].tolist():
                end = int(ends[group])
                drawn[end - counts[group] : end] = self._across_blocks(group, int(first[group]), int(counts[group]))
        return drawn

    def _across_blocks(self, group: int, first: int, count: int) -> Array:
        """Draw of one group, which ends with its last block cached."""
        pieces, length = [], int(self._length[group])
        while count:
            block, place = divmod(first, length)
            piece = self._load(group, block)[place : place + count].copy()
            pieces.append(piece)
            first, count = first + len(piece), count - len(piece)
        return np.concatenate(pieces)

    def _load(self, group: int, block: int) -> Array:
        start, length = int(self._start[group]), int(self._length[group])
        cached = self._cache[start : start + length]
        if self._stop[group] != (block + 1) * length:
            indices = self._partition.indices(group)
            cached[:] = indices[_shuffled(len(indices), int(self._num_passes[group]), self._seed, group, block)]
            self._first[group], self._stop[group] = block * length, (block + 1) * length
        return cached


def _shuffled(size: int, num_passes: int, *key: int) -> Array:
    """Return ``num_passes`` permutations of ``range(size)``, one after the other; a pure function of its arguments."""
    # torch, for its randperm takes a third of the time of NumPy's and its generator an eighth to be seeded.
    generator = random_generator(*key)
    if num_passes == 1:
        return torch.randperm(size, generator=generator, device="cpu").numpy()
    keys = torch.rand(num_passes, size, generator=generator, dtype=torch.float64, device="cpu").numpy()
    order: Array = keys.argsort(axis=1).ravel()
    return order
