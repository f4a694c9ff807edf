"""A section: the runs on one task with its settings, with a label a method; and what is measured of them."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from experiments.report.intervals import Ratio, listed, paired

LEARNER, BASELINE = "learn2mix", "classical"
QUARTERS = {"1/4": 1 / 4, "1/2": 1 / 2, "the end": 1.0}
UNEQUAL_SECONDS = 2  # seeds whose seconds differ by more than this factor were disturbed


@dataclass(frozen=True)
class Section:
    """All runs on one task with the same settings of the task.

    A *measure* is a series with a value a run, indexed by ``label`` and ``seed``: ``measure[label]`` is a method's.

    Attributes:
        title: the task, with those settings that tell it from other sections.
        runs: as stored, in the order in which ``list`` shows methods, with ``label``, ``shared`` and ``own`` settings.
        curves: ``error``, ``train_error`` and ``seconds``, by ``label``, ``seed`` and ``epoch``.
        group_errors: at the end, a column a group, by ``label`` and ``seed``.
        mix: the proportions from before training on, a column a group, by ``label``, ``seed`` and ``epoch``.
        group_names: the columns' names.
        train_counts: training samples of each group.
        is_by_size: whether the columns are the groups by rank of size, since seeds cut other groups.
    """

    title: str
    runs: pd.DataFrame
    curves: pd.DataFrame
    group_errors: pd.DataFrame
    mix: pd.DataFrame
    group_names: tuple[str, ...]
    train_counts: np.ndarray
    is_by_size: bool

    @property
    def task(self) -> str:
        """The task's name."""
        return str(self.runs["task"].iloc[0])

    @property
    def config(self) -> dict[str, Any]:
        """The settings that all its runs share."""
        config: dict[str, Any] = json.loads(self.runs["shared"].iloc[0])
        return config

    @property
    def slug(self) -> str:
        """The title as part of a file's name."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", self.title).strip("-")

    @property
    def error_name(self) -> str:
        """What the error is, with its unit."""
        return str(self._objective["error_name"])

    @property
    def is_classification(self) -> bool:
        """Whether 100 - error is an accuracy."""
        return bool(self._objective["kind"] == "classification")

    @cached_property
    def _objective(self) -> dict[str, Any]:
        stored = self.runs["objective"].dropna()
        return stored.iloc[0] if len(stored) else {"kind": "unknown", "error_name": "test error"}

    @cached_property
    def labels(self) -> list[str]:
        """All methods, also those without a run."""
        return list(self.runs["label"].unique())

    @cached_property
    def trained(self) -> list[str]:
        """The methods of which there is a run."""
        return list(self.runs.loc[self.runs["objective"].notna(), "label"].unique())

    @cached_property
    def compared(self) -> list[str]:
        """The methods to be compared: those with a run, without variants of one that is there as usual."""
        return [label for label in self.trained if self.method(label) not in set(self.trained) - {label}]

    @property
    def rivals(self) -> list[str]:
        """The methods to be compared with classical training, if there is a run of that."""
        return [label for label in self.compared if label != BASELINE] if BASELINE in self.trained else []

    def method(self, label: str) -> str:
        """The method's name."""
        return str(self.runs.loc[self.runs["label"] == label, "method"].iloc[0])

    def find(self, method: str) -> str | None:
        """The label to compare for a method: the method as such, else the first of its variants."""
        return next((label for label in self.compared if self.method(label) == method), None)

    def own(self, label: str) -> dict[str, Any]:
        """The settings of the method's own."""
        own: dict[str, Any] = json.loads(self.runs.loc[self.runs["label"] == label, "own"].iloc[0])
        return own

    @property
    def is_long_tail(self) -> bool:
        """Whether the largest class has twice the samples of the smallest: then accuracies count every class alike."""
        return (
            self.is_classification
            and len(self.train_counts) > 0
            and bool(max(self.train_counts) > 2 * min(self.train_counts))
        )

    @cached_property
    def by_size(self) -> np.ndarray:
        """The groups from most to fewest training samples."""
        return np.argsort(-self.train_counts, kind="stable")

    @cached_property
    def _by_run(self) -> Any:
        return self.curves.groupby(level=["label", "seed"], sort=False)

    def error_at(self, share: float) -> pd.Series:
        """The test error after a share of the length: of the epochs, or of the seconds where there is a budget."""
        budget = self.config.get("time_budget")

        def at(run: pd.DataFrame) -> float:
            # The first epoch in which this share is over; a run that ends before its budget is read at its end.
            place = math.ceil(share * len(run)) - 1
            if budget is not None:
                place = min(int(np.searchsorted(run["seconds"], share * budget)), len(run) - 1)
            return float(run["error"].iloc[place])

        return self._by_run.apply(at)

    @property
    def worst_group(self) -> pd.Series:
        """The largest error of a group at the end, found for each seed on its own."""
        return self.group_errors.max(axis=1)

    @property
    def num_epochs(self) -> pd.Series:
        """Epochs trained."""
        return self._by_run.size()

    @property
    def epoch_seconds(self) -> pd.Series:
        """The median seconds of training an epoch."""
        return self._by_run["seconds"].apply(lambda seconds: np.median(np.diff(seconds, prepend=0.0)))

    @cached_property
    def has_fair_seconds(self) -> bool:
        """Whether no method's seeds differ so much in seconds that only the machine can be the reason."""
        spread = self.epoch_seconds.groupby(level="label").agg(lambda seconds: seconds.max() / seconds.min())
        return bool((spread <= UNEQUAL_SECONDS).all())

    def caught_up(self) -> pd.Series:
        """The epochs until the error is first at or below the baseline's last one with the same seed.

        NaN where it never is; seeds that the baseline lacks are left out.
        """
        targets = self.error_at(1.0)[BASELINE] if BASELINE in self.trained else pd.Series(dtype=float)

        def first(run: pd.DataFrame) -> float:
            target = targets[run.index.get_level_values("seed")[0]]
            return next((epoch for (*_, epoch), error in run["error"].items() if error <= target), math.nan)

        seeds = self.curves.index.get_level_values("seed")
        return self.curves[seeds.isin(targets.index)].groupby(level=["label", "seed"], sort=False).apply(first)

    def ratio(self, measure: pd.Series, label: str, other: str) -> Ratio:
        """Compare a method with another one, on the seeds that both have."""
        return Ratio.of(*paired(measure[label], measure[other]))

    def status(self, label: str) -> str:
        """How many seeds there are, and which failed or are missing."""
        failed, missing, reason = self.gaps(label)
        if reason is not None:
            return "left out"
        seeds = (self.runs["label"] == label) & self.runs["objective"].notna()
        parts = [str(seeds.sum())]
        parts += [f"{listed(failed)} failed"] if failed else []
        parts += [f"{listed(missing)} missing"] if missing else []
        return "; ".join(parts)

    def gaps(self, label: str) -> tuple[dict[int, str], list[int], str | None]:
        """What there is no run of: each failed seed's error, the missing seeds, and why the method was left out."""
        own = self.runs[self.runs["label"] == label]
        done = set(own.loc[own["objective"].notna(), "seed"])
        failed = {seed: text for seed, text in zip(own["seed"], own["failure"], strict=True) if text is not None}
        reasons = own["reason"].dropna()
        if len(reasons) and not done:
            return failed, [], reasons.iloc[0]
        return failed, sorted(set(self.runs["seed"].dropna()) - done - failed.keys()), None
