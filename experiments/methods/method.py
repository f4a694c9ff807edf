"""What a method is: a few seams in one and the same training loop.

Modules of methods import torch where they use it: so ``list`` and a mistyped name are answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from experiments.context import Context
from experiments.settings import Setting

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from experiments.datasets.splits import Split
    from experiments.tasks.task import Task

    Score = Callable[[Split], Tensor]


class Method:
    """Plain training on shuffled batches; a method overrides what differs.

    It is made anew for each run, so it may remember what it likes.

    Args:
        context: of the run. A method that trains on other samples hands on a context with other data.

    Attributes:
        name: what the command line calls it.
        summary: one line for ``list``.
        settings: settings of the method's own; a task may give other values for them.
        prerequisite: the method whose record of the same task, seed and settings has to be there first; None for none.
        for_classes: what the method does that makes sense for classes alone, as "weighs by class"; None for nothing.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    settings: ClassVar[Mapping[str, Setting]] = MappingProxyType({})
    prerequisite: ClassVar[str | None] = None
    for_classes: ClassVar[str | None] = None

    def __init__(self, context: Context) -> None:
        from experiments.methods.shuffled import Shuffled

        self.context = context
        self.shuffled = Shuffled(
            len(context.data.train), context.settings["batch_size"], context.num_batches, context.run.seed
        )

    @classmethod
    def unsuitable(cls, task: Task) -> str | None:
        """Say why the method makes no sense on a task, in a sentence; None where it does."""
        kind = task.objective.kind
        if cls.for_classes is None or kind == "classification":
            return None
        return f"it {cls.for_classes}, and a {kind} has no classes to predict"

    def model(self, model: nn.Module) -> nn.Module:
        """Change the task's network before it is trained."""
        return model

    def batches(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch, ``context.num_batches`` of them."""
        yield from self.shuffled

    @property
    def proportions(self) -> np.ndarray:
        """The mix that the next batch is made of, ``(num_groups,)``; shuffling keeps the data's own on average."""
        return self.context.data.proportions

    def select(self, batch: Split, score: Score) -> Split:
        """Choose which samples of a batch to step on; all by default. In the training time.

        Args:
            batch: the samples drawn, on the device.
            score: gives the loss of each sample under the model as it is, in evaluation mode and without gradient.
        """
        del score
        return batch

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split) -> Tensor:
        """Join a batch's per-sample losses into the number that is minimised; their mean by default."""
        del outputs, batch
        return losses.mean()

    def observe(self, losses: Tensor) -> None:
        """Take in the per-sample losses of the batch just stepped on, in its order."""

    def adjust_outputs(self, outputs: Tensor) -> Tensor:
        """Correct what the trained model says of a batch of the test part, before it is judged."""
        return outputs
