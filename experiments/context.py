"""What a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.run import Run
from experiments.settings import Values
from experiments.tasks.task import Task

if TYPE_CHECKING:
    import torch

    from experiments.datasets.splits import Data


@dataclass(frozen=True)
class Context:
    """All that a method may look at before the first step; ``data`` are the task's, on the CPU.

    ``num_batches`` an epoch are the same for every method of a task, the paper's P = N / M, rounded down;
    ``prerequisite`` is the stored record of the run that the method needs first.
    """

    run: Run
    task: Task
    data: Data
    device: torch.device
    num_batches: int
    prerequisite: Mapping[str, Any] | None = None

    @property
    def settings(self) -> Values:
        """The run's settings."""
        return self.run.settings
