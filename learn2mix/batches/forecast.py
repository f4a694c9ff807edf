"""Which samples the next batches have, if the mix stays what it is."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from learn2mix.batches.chunks import Indices
from learn2mix.batches.composition import Batch
from learn2mix.batches.sampler import MixedBatchSampler


class Foreseen(NamedTuple):
    """A batch that comes if the mix stays what it is."""

    batch: Batch
    indices: Indices  # of this process's samples, in the order of the batch


class Forecast:
    """The batches that come next if the mix stays what it is; what was foreseen is kept for as long as it holds."""

    def __init__(self, sampler: MixedBatchSampler) -> None:
        self._sampler = sampler
        self._next: deque[Foreseen] = deque()
        self._based_on: tuple[Any, Any] | None = None  # the mix, and the passes over the data

    def next(self, num_batches: int) -> list[Indices]:
        """Return the indices of this process's samples of each of the next batches, also beyond the epoch."""
        sampler = self._sampler
        while self._next and self._next[0].batch.number < sampler.num_composed:
            self._next.popleft()
        if not self._holds():
            self._next.clear()
            self._based_on = sampler.mixer.proportions.copy(), sampler._passes
        while len(self._next) < num_batches:
            batch = sampler.foresee(self._next[-1].batch if self._next else None)
            self._next.append(Foreseen(batch, sampler.indices_of(batch).astype(np.int64)))
        return [foreseen.indices for foreseen in self._next][:num_batches]

    def _holds(self) -> bool:
        """Whether the run is where it was foreseen to be, at the same mix."""
        if self._based_on is None or not self._next:
            return False
        (proportions, passes), first, now = self._based_on, self._next[0].batch, self._sampler._composition
        return (
            passes is self._sampler._passes
            and np.array_equal(first.draws, now.draws)
            and np.array_equal(proportions, self._sampler.mixer.proportions)
        )
