"""What a run is: plain data, to be compared, stored and sent to other processes."""

from dataclasses import dataclass
from typing import Any

from experiments.settings import Values


@dataclass(frozen=True)
class Run:
    """What is to be trained, in full: two equal runs give equal results.

    The task may be the name of a data set below the data root; the seed is that of data, weights and batches; settings
    are all that matter to task and method; an epoch that fills ``time_budget`` seconds of training is the last.
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
        return {**self.settings, **({} if self.time_budget is None else {"time_budget": self.time_budget})}

    @property
    def identity(self) -> dict[str, Any]:
        """The fields of the run's record that say which run it is of."""
        return {"task": self.task, "method": self.method, "seed": self.seed, "config": self.config}
