"""Classical training: plain shuffled batches, blind to the groups."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from experiments.datasets.splits import Data
from experiments.methods.method import Batches, Method
from experiments.settings import Values


class ShuffledBatches:
    """Endless reshuffled passes over the whole training set, cut into full batches.

    A pass ends where the data do, not where the epoch does, so every batch is full and an epoch has as many
    samples as with any other method.
    """

    def __init__(self, data: Data, batch_size: int, seed: int) -> None:
        """Shuffle ``data.train``."""
        self.proportions = np.array(data.counts(data.train)) / len(data.train)
        self._num_samples = len(data.train)
        self._batch_size = batch_size
        self._generator = np.random.default_rng(seed)
        self._ahead = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        """Batches an epoch."""
        return math.ceil(self._num_samples / self._batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""
        for _ in range(len(self)):
            while len(self._ahead) < self._batch_size:
                self._ahead = np.concatenate([self._ahead, self._generator.permutation(self._num_samples)])
            batch, self._ahead = np.split(self._ahead, [self._batch_size])
            yield batch.tolist()

    def observe(self, losses: Tensor) -> None:
        """Nothing to learn from the losses."""


class Classical(Method):
    """Plain shuffled batches."""

    name = "classical"
    summary = "plain shuffled batches, blind to the groups"

    def batches(self, data: Data, settings: Values, seed: int) -> Batches:
        """Shuffle everything."""
        return ShuffledBatches(data, settings["batch_size"], seed)
