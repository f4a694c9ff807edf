"""Numbers from stored runs: means with intervals over the seeds, as data that any renderer can show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from scipy import stats

from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.runs import pick_method, pick_task
from experiments.storage import Record
from experiments.tasks import TASKS, Task

CONFIDENCE = 0.95
BASELINE = "classical"


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and half the width of its 95 % t-interval (NaN for one seed)."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> Interval:
        """Summarise one value a seed, shape ``(num_seeds,)``.

        Example:
            >>> Interval.of([1.0, 2.0, 3.0])
            Interval(mean=2.0, half_width=2.484...)
        """
        half_width = half_widths(np.array(values)[:, None])[0]
        return cls(float(np.mean(values)), float(half_width))

    def show(self, digits: int | None = None) -> str:
        """As text, with ``digits`` decimals; None shows three significant digits of the mean.

        Example:
            >>> Interval(18.234, 0.567).show()
            '18.2 ± 0.6'
        """
        if digits is None:
            digits = 2 if self.mean == 0 else max(0, 2 - math.floor(math.log10(abs(self.mean))))
        half_width = "" if math.isnan(self.half_width) else f" ± {self.half_width:.{digits}f}"
        return f"{self.mean:.{digits}f}{half_width}"


def half_widths(values: np.ndarray) -> np.ndarray:
    """Half the width of the 95 % t-interval over the first axis; NaN for a single seed."""
    num_seeds = len(values)
    if num_seeds < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(stats.sem(values, axis=0) * stats.t.ppf((1 + CONFIDENCE) / 2, num_seeds - 1))


@dataclass(frozen=True)
class Results:
    """The stored runs of one method on one task, a row a seed.

    Attributes:
        task: what was trained.
        method: its name.
        seeds: in rising order.
        errors: test error after each epoch in the task's unit, shape ``(num_seeds, num_epochs)``.
        group_errors: the same a group after the last epoch, shape ``(num_seeds, num_groups)``.
        proportions: the mix before training and after each epoch, ``(num_seeds, num_epochs + 1, num_groups)``.
        group_names: one a group.
    """

    task: Task
    method: str
    seeds: tuple[int, ...]
    errors: np.ndarray
    group_errors: np.ndarray
    proportions: np.ndarray
    group_names: tuple[str, ...]

    def at(self, fraction: float) -> Interval:
        """Test error after this fraction of the epochs, rounded up to a whole epoch."""
        return Interval.of(self.errors[:, math.ceil(fraction * self.errors.shape[1]) - 1])

    @property
    def worst_group(self) -> Interval:
        """Test error of each seed's worst group at the end."""
        return Interval.of(np.nanmax(self.group_errors, axis=1))

    @property
    def mix_moves(self) -> bool:
        """Whether the proportions changed in the course of training."""
        return bool((self.proportions != self.proportions[:, :1]).any())


def collect(records: Iterable[Record]) -> list[Results]:
    """Join the runs of each task and method, in the order in which ``list`` shows these.

    Raises:
        UserError: if runs of one method on one task differ in more than the seed, or there is no such task or method.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((pick_task(record["task"]).name, pick_method(record["method"]).name), []).append(record)
    return [_join(groups[pair]) for pair in product(TASKS, METHODS) if pair in groups]


def _join(records: list[Record]) -> Results:
    records = sorted(records, key=lambda record: record["seed"])
    first = records[0]
    for record in records:
        if record["config"] != first["config"]:
            raise UserError(
                f"{first['task']} {first['method']}: seeds {first['seed']} and {record['seed']} were run with "
                f"different settings, {first['config']} and {record['config']}; keep them in different folders"
            )
    task = pick_task(first["task"])
    return Results(
        task,
        first["method"],
        tuple(record["seed"] for record in records),
        errors=_stack(records, "test_error") * task.objective.error_scale,
        group_errors=_stack(records, "test_by_group")[:, -1] * task.objective.error_scale,
        proportions=np.stack([_mix_path(record) for record in records]),
        group_names=tuple(first["groups"]["names"]),
    )


def _stack(records: Sequence[Record], key: str) -> np.ndarray:
    return np.array([[row[key] for row in record["history"]] for record in records], dtype=np.float64)


def _mix_path(record: Record) -> np.ndarray:
    return np.array([record["groups"]["initial_proportions"], *(row["proportions"] for row in record["history"])])


def epochs_to_baseline(results: Results, baseline: Results | None) -> str:
    """Epochs until a seed's test error is first at or below the baseline's last one with the same seed.

    Returns:
        The mean with its interval over the seeds that got there, and how many did where not all; "-" if there is no
        baseline with these seeds.
    """
    if baseline is None:
        return "-"
    targets = dict(zip(baseline.seeds, baseline.errors[:, -1], strict=True))
    of_seed = zip(results.seeds, results.errors, strict=True)
    good_enough = [errors <= targets[seed] for seed, errors in of_seed if seed in targets]
    reached = [float(epochs.argmax()) + 1 for epochs in good_enough if epochs.any()]
    if not reached:
        return "never" if good_enough else "-"
    share = "" if len(reached) == len(good_enough) else f" ({len(reached)}/{len(good_enough)} seeds)"
    return Interval.of(reached).show(digits=1) + share


def summarise(all_results: Sequence[Results]) -> pd.DataFrame:
    """The table: a row a task and method, cells as text."""
    baselines = {results.task.name: results for results in all_results if results.method == BASELINE}
    return pd.DataFrame(
        {
            "task": results.task.name,
            "error": results.task.objective.error_name,
            "method": results.method,
            "seeds": str(len(results.seeds)),
            "at 1/4": results.at(1 / 4).show(),
            "at 1/2": results.at(1 / 2).show(),
            "at the end": results.at(1).show(),
            "catches up": epochs_to_baseline(results, baselines.get(results.task.name)),
            "worst group": results.worst_group.show(),
        }
        for results in all_results
    )
