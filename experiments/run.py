"""What a run is: plain data, to be compared, stored and sent to other processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from experiments.settings import Values


@dataclass(frozen=True)
class Run:
    """What is to be trained, in full: two equal runs give equal results.

    Attributes:
        task: the name of a task, or of a data set below the data root.
        method: the name of a method.
        seed: of the data, the weights and the batches.
        settings: all that matter to this task and method.
        time_budget: seconds of training after which the epoch at hand is the last; None trains all epochs.
    """

    task: str
    method: str
    seed: int
    settings: Values
    time_budget: float | None = None

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.task} {self.method} seed {self.seed}"

    @property
    def config(self) -> dict[str, Any]:
        """What the run's record holds: stored runs with another config are other runs."""
        budget = {} if self.time_budget is None else {"time_budget": self.time_budget}
        return {**self.settings, **budget}


@dataclass(frozen=True)
class Unsuitable:
    """A method that makes no sense on a task, the config that its runs would have had, and why."""

    task: str
    method: str
    config: dict[str, Any]
    reason: str
