"""Classical training: plain shuffled batches, blind to the groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from experiments.methods.method import Batches, Method
from experiments.start import Start


class ShuffledBatches:
    """Endless reshuffled passes over the whole training set, cut into full batches.

    A pass ends where the data do, not where the epoch does, so every batch is full and an epoch has as many
    samples as with any other method.

    Args:
        start: whose ``data.train`` is shuffled.
    """

    def __init__(self, start: Start) -> None:
        train = start.data.train
        self._proportions = np.array(start.data.counts(train)) / len(train)
        self._num_samples = len(train)
        self._num_batches = start.num_batches
        self._batch_size = start.settings["batch_size"]
        self._generator = np.random.default_rng(start.run.seed)
        self._ahead = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._num_batches

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""
        for _ in range(len(self)):
            while len(self._ahead) < self._batch_size:
                self._ahead = np.concatenate([self._ahead, self._generator.permutation(self._num_samples)])
            batch, self._ahead = np.split(self._ahead, [self._batch_size])
            yield batch.tolist()

    @property
    def proportions(self) -> np.ndarray:
        """The training part's own mix, on average."""
        return self._proportions

    def observe(self, losses: Tensor) -> None:
        """Nothing to learn from the losses."""


class Classical(Method):
    """Plain shuffled batches."""

    name = "classical"
    summary = "plain shuffled batches, blind to the groups"

    def batches(self, start: Start) -> Batches:
        """Shuffle everything."""
        return ShuffledBatches(start)
