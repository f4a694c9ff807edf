"""What a method is: three seams in one and the same training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import numpy as np
from torch import Tensor

from experiments.datasets.splits import Data, Split
from experiments.settings import Setting, Values


class Batches(Protocol):
    """Where a run's batches come from; iterated once an epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""

    def __len__(self) -> int:
        """Batches an epoch: the same for every method of a task."""

    @property
    def proportions(self) -> np.ndarray:
        """The mix that the next batch is made of, shape ``(num_groups,)``."""

    def observe(self, losses: Tensor) -> None:
        """Take in the per-sample losses of the batch just trained on, in its order."""


class Method:
    """A way to train: subclass it and override what differs from plain training.

    One object serves all runs, so it keeps no state; what a run has to remember lives in its ``Batches``.

    Attributes:
        name: what the command line calls it.
        summary: one line for ``list``.
        settings: settings of the method's own; a task may give other values for them.
    """

    name: str
    summary: str
    settings: Mapping[str, Setting] = MappingProxyType({})

    def before_training(self, data: Data, settings: Values, seed: int) -> Data:
        """Look at the data, or change the training part, before training starts; not in the training time."""
        del settings, seed
        return data

    def batches(self, data: Data, settings: Values, seed: int) -> Batches:
        """Make the source of the run's batches."""
        raise NotImplementedError

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: Batches) -> Tensor:
        """Join a batch's per-sample losses into the number that is minimised; their mean by default."""
        del outputs, batch, batches
        return losses.mean()
