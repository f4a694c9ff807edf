"""What a run is: plain data, to be compared, stored and sent to other processes."""

from dataclasses import dataclass
from typing import Any

from experiments.settings import Values

Record = dict[str, Any]  # of a run, as it is stored


@dataclass(frozen=True)
class Run:
    """What is to be trained, in full: two equal runs give equal results.

    The task may be the name of a data set below the data root; the seed is that of data, weights and batches; settings
    are all that matter to task and method, ``time_budget`` where an epoch that fills these seconds is the last.
    """

    task: str
    method: str
    seed: int
    settings: Values

    def __str__(self) -> str:
        return f"{self.task} {self.method} seed {self.seed}"

    @property
    def identity(self) -> dict[str, Any]:
        """The fields of the run's record that say which run it is of."""
        return {"task": self.task, "method": self.method, "seed": self.seed, "config": dict(self.settings)}
