"""What a method is: a few seams in one and the same training loop, and what it starts from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from experiments.datasets import Data, Split
from experiments.lazily import np, torch
from experiments.run import Run
from experiments.settings import Setting, Values
from experiments.tasks.task import Task


@dataclass(frozen=True)
class Context:
    """All that a method may look at before the first step; ``data`` are the task's, on the CPU.

    ``num_batches`` an epoch are the same for every method of a task, the paper's P = N / M, rounded down.
    """

    run: Run
    task: Task
    data: Data
    device: torch.device
    num_batches: int

    @property
    def settings(self) -> Values:
        return self.run.settings


class Method:
    """Plain training on shuffled batches; a method overrides what differs.

    It is made anew for each run, so it may remember what it likes; to train on other samples it hands on other data.
    """

    name: ClassVar[str]  # on the command line
    summary: ClassVar[str]  # a line for ``list``
    settings: ClassVar[Mapping[str, Setting]] = MappingProxyType({})  # its own; a task may give other values for them
    for_classes: ClassVar[str | None] = None  # what makes sense for classes alone, as "weighs by class"

    def __init__(self, context: Context) -> None:
        self.context = context
        self.num_shuffled = len(context.data.train)
        self._shuffle_rng = np.random.default_rng(context.run.seed)
        self._shuffled = np.empty(0, dtype=np.int64)

    @classmethod
    def unsuitable(cls, task: Task) -> str | None:
        """Say why the method makes no sense on a task, in a sentence; None where it does."""
        fits = cls.for_classes is None or task.objective.kind == "classification"
        return None if fits else f"it {cls.for_classes}, and a {task.objective.kind} has no classes to predict"

    def model(self, model: torch.nn.Module) -> torch.nn.Module:
        """Change the task's network before it is trained."""
        return model

    def batches(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch, ``context.num_batches`` of them.

        By default reshuffled passes over the first ``num_shuffled`` samples. A pass ends where the data do, not where
        the epoch does, so every batch is full and an epoch has as many samples as with any other method.
        """
        batch_size = self.context.settings["batch_size"]
        for _ in range(self.context.num_batches):
            while len(self._shuffled) < batch_size:
                self._shuffled = np.concatenate([self._shuffled, self._shuffle_rng.permutation(self.num_shuffled)])
            batch, self._shuffled = np.split(self._shuffled, [batch_size])
            yield batch.tolist()

    @property
    def proportions(self) -> np.ndarray:
        """The mix that the next batch is made of, ``(num_groups,)``; shuffling keeps the data's own on average."""
        return self.context.data.proportions

    def select(self, batch: Split, score: Callable[[Split], torch.Tensor]) -> Split:
        """Choose what to step on, in the training time; ``score`` gives samples' losses, as in evaluation."""
        return batch

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        """Join a batch's per-sample losses into the number that is minimised; their mean by default."""
        return losses.mean()

    def observe(self, losses: torch.Tensor) -> None:
        """Take in the per-sample losses of the batch just stepped on, in its order."""

    def adjust_outputs(self, outputs: torch.Tensor) -> torch.Tensor:
        """Correct what the trained model says of a batch of the test part, before it is judged."""
        return outputs


class Classical(Method):
    name = "classical"
    summary = "plain shuffled batches, blind to the groups"
