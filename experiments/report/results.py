"""Stored runs, joined: a section a task with its settings, a line a method, a curve a seed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from experiments.report.intervals import Ratio
from experiments.tasks import TASKS

BASELINE = "classical"
QUARTERS = {"1/4": 1 / 4, "1/2": 1 / 2, "the end": 1.0}

Record = Mapping[str, Any]
Config = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Curve:
    """One run, a row an epoch; errors are in the task's unit, and NaN where none was measured.

    Attributes:
        seed: of the run.
        seconds: of training from the start to the end of each epoch, shape ``(num_epochs,)``.
        errors: on the test part, shape ``(num_epochs,)``.
        train_errors: of the samples as drawn, in training, shape ``(num_epochs,)``.
        group_errors: on the test part, shape ``(num_epochs, num_groups)``.
        proportions: the mix before training and after each epoch, shape ``(num_epochs + 1, num_groups)``.
        train_counts: training samples a group, shape ``(num_groups,)``; None where the record lacks them.
        budget: seconds of training that the run was given; None for epochs alone.
        preparation_seconds: what the method took before training, NaN where it was not measured.
    """

    seed: int
    seconds: np.ndarray
    errors: np.ndarray
    train_errors: np.ndarray
    group_errors: np.ndarray
    proportions: np.ndarray
    train_counts: np.ndarray | None
    budget: float | None
    preparation_seconds: float

    @classmethod
    def of(cls, record: Record) -> Curve:
        """Read a run's record."""
        scale, history = objective_of(record)["scale"], record["history"]
        num_groups, counts = len(record["groups"]["names"]), record["groups"].get("train_counts")
        no_groups = [math.nan] * num_groups
        return cls(
            record["seed"],
            seconds=np.cumsum([row["train_seconds"] for row in history]),
            errors=scale * _numbers([row["test_error"] for row in history]),
            train_errors=scale * _numbers([row.get("train_error", math.nan) for row in history]),
            group_errors=scale * _numbers([row.get("test_by_group", no_groups) for row in history]),
            proportions=_numbers([record["groups"]["initial_proportions"], *(row["proportions"] for row in history)]),
            train_counts=None if counts is None else np.array(counts),
            budget=record["config"].get("time_budget"),
            preparation_seconds=record.get("preparation_seconds", math.nan),
        )

    @property
    def by_size(self) -> np.ndarray:
        """The groups from most to fewest training samples, shape ``(num_groups,)``; as they come without counts."""
        if self.train_counts is None:
            return np.arange(self.group_errors.shape[1])
        return np.argsort(-self.train_counts, kind="stable")

    def sorted_by_size(self) -> Curve:
        """The same with its groups from most to fewest training samples."""
        order = self.by_size
        return replace(
            self,
            group_errors=self.group_errors[:, order],
            proportions=self.proportions[:, order],
            train_counts=None if self.train_counts is None else self.train_counts[order],
        )

    def place_at(self, fraction: float) -> int:
        """The epoch, from 0, in which this fraction of the run's length is over: of its budget, else of its epochs."""
        if self.budget is None:
            return math.ceil(fraction * len(self.errors)) - 1
        return min(int(np.searchsorted(self.seconds, fraction * self.budget)), len(self.errors) - 1)

    def reaches(self, error: float) -> int | None:
        """The first epoch, from 0, after which the test error is no more than ``error``; None if it never is."""
        reached = np.flatnonzero(self.errors <= error)
        return int(reached[0]) if len(reached) else None


@dataclass(frozen=True)
class Results:
    """What there is of one method with its settings on one task.

    Attributes:
        method: its name.
        label: its name, with those settings of its own that tell it from others of the same name.
        own: the settings of its own.
        curves: its stored runs, by seed.
        failures: the error of each seed whose run failed.
        missing: the seeds that other methods of the section have.
        unsuitable: why the method was left out; None if it was not.
    """

    method: str
    label: str
    own: dict[str, Any]
    curves: tuple[Curve, ...]
    failures: dict[int, str] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    unsuitable: str | None = None

    @property
    def is_usual(self) -> bool:
        """Whether this is the method as such, not a variant of it that its settings tell apart."""
        return self.label == self.method

    @property
    def seeds(self) -> list[int]:
        """The seeds of the stored runs."""
        return [curve.seed for curve in self.curves]

    def at(self, fraction: float) -> np.ndarray:
        """Each seed's test error after this fraction of its length, shape ``(num_seeds,)``."""
        return np.array([curve.errors[curve.place_at(fraction)] for curve in self.curves])

    @property
    def final_group_errors(self) -> np.ndarray:
        """Each seed's test error of each group at the end, shape ``(num_seeds, num_groups)``."""
        return np.array([curve.group_errors[-1] for curve in self.curves])

    def sorted_by_size(self) -> Results:
        """The same with each run's groups from most to fewest training samples."""
        return replace(self, curves=tuple(curve.sorted_by_size() for curve in self.curves))

    @property
    def worst_group(self) -> np.ndarray:
        """Each seed's test error of the group that is worst at the end, found for each seed on its own."""
        return np.array([_max_known(errors) for errors in self.final_group_errors])

    @property
    def epoch_seconds(self) -> np.ndarray:
        """Each seed's median seconds of training an epoch."""
        return np.array([np.median(np.diff(curve.seconds, prepend=0.0)) for curve in self.curves])

    @property
    def mix_moves(self) -> bool:
        """Whether the proportions changed in the course of training."""
        return any(bool((curve.proportions != curve.proportions[:1]).any()) for curve in self.curves)

    def status(self) -> str:
        """How many seeds there are, and which failed or are missing."""
        if self.unsuitable is not None:
            return "left out"
        parts = [str(len(self.curves))]
        if self.failures:
            parts.append(f"{listed(self.failures)} failed")
        if self.missing:
            parts.append(f"{listed(self.missing)} missing")
        return "; ".join(parts)


@dataclass(frozen=True)
class Section:
    """All runs on one task with the same settings of the task.

    Attributes:
        title: the task's name, with those settings that tell the section from others of the same task.
        task: its name.
        config: the settings that all methods share.
        error_name: the errors' name and unit.
        is_classification: whether 100 minus the error is an accuracy.
        group_names: one a group.
        is_by_size: whether groups of equal rank by training samples are joined, as each seed cut others; then they are
            called by their rank.
        train_counts: training samples a group, of the first seed.
        results: one a method, those without a stored run too.
        environments: the different ones in which the runs were made.
    """

    title: str
    task: str
    config: dict[str, Any]
    error_name: str
    is_classification: bool
    group_names: tuple[str, ...]
    is_by_size: bool
    train_counts: tuple[int, ...]
    results: tuple[Results, ...]
    environments: tuple[Record, ...]

    @property
    def group_note(self) -> str:
        """What a reader of groups should know, as a sentence after others; nothing where groups are what they seem."""
        return " Seeds cut different groups, so those of equal rank by training samples are joined." * self.is_by_size

    @property
    def slug(self) -> str:
        """The title as part of a file's name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.title).strip("-")

    @property
    def trained(self) -> list[Results]:
        """The methods of which there is a run."""
        return [results for results in self.results if results.curves]

    @property
    def compared(self) -> list[Results]:
        """The methods to be compared: those of which there is a run, without variants of one that is there as usual."""
        usual = {results.method for results in self.trained if results.is_usual}
        return [results for results in self.trained if results.is_usual or results.method not in usual]

    @property
    def baseline(self) -> Results | None:
        """Classical training, if there is a run of it."""
        return next((results for results in self.trained if results.method == BASELINE), None)

    @property
    def largest_group(self) -> int:
        """The group with most training samples; the first of them."""
        return int(np.argmax(self.train_counts))

    def ratio(self, results: Results, values: Sequence[float] | np.ndarray, of_baseline: np.ndarray) -> Ratio:
        """Compare one value a seed with the baseline's, on the seeds that both have."""
        return Ratio.of([], []) if self.baseline is None else paired_ratio(results, values, self.baseline, of_baseline)

    def error_ratio(self, results: Results, fraction: float) -> Ratio:
        """The test error after a fraction of the length, compared with the baseline's."""
        return self.ratio(
            results, results.at(fraction), np.array([]) if self.baseline is None else self.baseline.at(fraction)
        )


def paired_ratio(
    results: Results, values: Sequence[float] | np.ndarray, other: Results, of_other: Sequence[float] | np.ndarray
) -> Ratio:
    """Compare one value a seed of two methods, on the seeds that both have."""
    return Ratio.of(*paired(results, values, other, of_other).T)


def paired(
    results: Results, values: Sequence[float] | np.ndarray, other: Results, of_other: Sequence[float] | np.ndarray
) -> np.ndarray:
    """One value a seed of two methods, on the seeds that both have, shape ``(num_common_seeds, 2)``."""
    theirs = dict(zip(other.seeds, of_other, strict=True))
    pairs = [(value, theirs[seed]) for seed, value in zip(results.seeds, values, strict=True) if seed in theirs]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def objective_of(record: Record) -> dict[str, Any]:
    """Kind, error name and scale; records of before these were stored ask the task."""
    if "objective" in record:
        return record["objective"]
    objective = TASKS[record["task"]].objective
    return {"kind": objective.kind, "error_name": objective.error_name, "scale": objective.error_scale}


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """As an array, with NaN for None."""
    return np.array(values, dtype=np.float64)


def _max_known(errors: np.ndarray) -> float:
    known = errors[~np.isnan(errors)]
    return float(known.max()) if len(known) else math.nan


def listed(seeds: Iterable[int]) -> str:
    """Seeds in words.

    Example:
        >>> listed([3, 1]), listed([2])
        ('seeds 1, 3', 'seed 2')
    """
    ordered = sorted(seeds)
    return f"seed{'s' if len(ordered) > 1 else ''} {', '.join(str(seed) for seed in ordered)}"
