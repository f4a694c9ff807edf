"""Plain shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class Shuffled:
    """Endless reshuffled passes over samples, cut into full batches; iterated once an epoch.

    A pass ends where the data do, not where the epoch does, so every batch is full and an epoch has as many
    samples as with any other method.

    Args:
        num_samples: to shuffle.
        batch_size: samples a batch.
        num_batches: batches an epoch.
        seed: of the order.
    """

    def __init__(self, num_samples: int, batch_size: int, num_batches: int, seed: int) -> None:
        self.num_batches = num_batches
        self._batch_size = batch_size
        self._generator = np.random.default_rng(seed)
        self.restart(num_samples)

    def restart(self, num_samples: int) -> None:
        """Begin a pass anew, over the first ``num_samples``."""
        self.num_samples = num_samples
        self._ahead = np.empty(0, dtype=np.int64)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""
        for _ in range(self.num_batches):
            while len(self._ahead) < self._batch_size:
                self._ahead = np.concatenate([self._ahead, self._generator.permutation(self.num_samples)])
            batch, self._ahead = np.split(self._ahead, [self._batch_size])
            yield batch.tolist()
