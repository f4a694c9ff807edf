"""What a method is: a few seams in one and the same training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor, nn

from experiments.datasets.splits import Data, Split
from experiments.settings import Setting
from experiments.start import Start

if TYPE_CHECKING:
    from experiments.tasks.task import Task

Score = Callable[[Split], Tensor]


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
        prerequisite: the method whose record of the same task, seed and settings has to be there first; None for none.
    """

    name: str
    summary: str
    settings: Mapping[str, Setting] = MappingProxyType({})
    prerequisite: str | None = None

    def unsuitable(self, task: Task) -> str | None:
        """Say why the method makes no sense on a task, in a sentence; None where it does."""
        del task
        return None

    def before_training(self, start: Start) -> Data:
        """Look at the data, or change the training part, before training starts; not in the training time."""
        return start.data

    def model(self, model: nn.Module) -> nn.Module:
        """Change the task's network before it is trained."""
        return model

    def batches(self, start: Start) -> Batches:
        """Make the source of the run's batches."""
        raise NotImplementedError

    def select(self, batch: Split, score: Score, batches: Batches) -> Split:
        """Choose which samples of a batch to step on; all by default. In the training time.

        Args:
            batch: the samples drawn, on the device.
            score: gives the loss of each sample under the model as it is, in evaluation mode and without gradient.
            batches: where the batch came from.
        """
        del score, batches
        return batch

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: Batches) -> Tensor:
        """Join a batch's per-sample losses into the number that is minimised; their mean by default."""
        del outputs, batch, batches
        return losses.mean()

    def adjust_outputs(self, outputs: Tensor, start: Start) -> Tensor:
        """Correct what the trained model says of a batch of the test part, before it is judged."""
        del start
        return outputs
