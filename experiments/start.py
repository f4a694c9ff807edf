"""What a run starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from experiments.datasets.splits import Data
from experiments.settings import Values

if TYPE_CHECKING:
    from experiments.runs import Run


@dataclass(frozen=True)
class Start:
    """All that a method may look at before the first step.

    Attributes:
        run: the task, the method, the seed and the settings.
        data: the task's data, on the CPU; after ``before_training``, what that made of them.
        device: where the run trains.
        num_batches: batches an epoch, the same for every method of a task: the paper's P = N / M, rounded down.
        prerequisite: the stored record of the run that the method needs first; None where it needs none.
    """

    run: Run
    data: Data
    device: torch.device
    num_batches: int
    prerequisite: Mapping[str, Any] | None = None

    @property
    def settings(self) -> Values:
        """The run's settings."""
        return self.run.settings
