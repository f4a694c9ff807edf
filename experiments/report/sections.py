"""A section: the runs on one task with its settings, with a label a method; and what is measured of them."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pandas as pd

from experiments.errors import UserError
from experiments.report.intervals import Effect, Interval

LEARNER, LONG_TAIL_LEARNER, BASELINE, BALANCED = "learn2mix", "learn2mix-passes", "classical", "balanced"
RIVALS = (BALANCED, "logit-adjusted-loss")  # what a method for long tails has to be better than
AT = {"at 1/4": 1 / 4, "at 1/2": 1 / 2, "at the end": 1.0}  # shares of the training
HALF, END = "at 1/2", "at the end"
THIRDS = ("many", "middle", "few")
DIFFERENCES = ("balanced accuracy", "gap")  # what is compared by differences, not by ratios
UNEQUAL_SECONDS = 2  # seeds whose seconds differ by more than this factor were disturbed
RUN = ["label", "seed"]
# A run as it is stored, or a failure, or a method that was left out; its settings are in ``shared`` and ``own``.
STORED = ("task", "method", "seed", "objective", "groups", "environment", "command", "preparation_seconds", "history")
COLUMNS = [*STORED, "shared", "own", "failure", "reason"]
ENDINGS = {1: "st", 2: "nd", 3: "rd"}
UNKNOWN_OBJECTIVE = {"kind": "unknown", "error_name": "test error"}


class Section:
    """All runs on one task with the same settings of the task.

    Attributes:
        title, slug: the task, with those settings that tell it from other sections; and this in a file's name.
        runs: ``COLUMNS`` and ``label``, in the order in which ``list`` shows methods.
        task, config, error_name, is_classification: what the runs share; ``paper_measure`` is what the paper shows.
        methods, own: each label's method and its own settings.
        trained: the labels that have runs; ``compared``: without variants of one that is there as usual; ``rivals``:
            those to be compared with the baseline, if there is a run of that.
        group_names, train_counts: the groups and their training samples, by rank of size where seeds cut other groups
            (``is_by_size``); ``by_size``: their places from most samples to fewest; ``is_long_tail``: whether they are
            classes and the largest has twice the samples of the smallest.
        values: by label, seed and epoch (0 is before training): below ``whole`` ``error`` (test) and ``weighed`` (in
            training, as the test part weighs groups), both in the task's unit, and ``seconds`` so far; and a column a
            group below ``test`` (errors) and ``mix`` (proportions).
        measures: by label and seed, see ``_measure``.
    """

    def __init__(self, title: str, runs: pd.DataFrame) -> None:
        self.title, self.slug, self.runs = title, re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-"), runs
        self.task, self.config = str(runs["task"].iloc[0]), json.loads(runs["shared"].iloc[0])
        objective = next(iter(runs["objective"].dropna()), UNKNOWN_OBJECTIVE)
        self.error_name, self.is_classification = objective["error_name"], objective["kind"] == "classification"
        self.paper_measure = "test accuracy, %" if self.is_classification else self.error_name
        variants, done = runs.drop_duplicates("label").set_index("label"), runs[runs["objective"].notna()]
        self.methods: dict[str, str] = variants["method"].to_dict()
        self.own: dict[str, dict[str, Any]] = variants["own"].map(json.loads).to_dict()
        self.trained = list(done["label"].unique())
        self.compared = [one for one in self.trained if self.methods[one] not in set(self.trained) - {one}]
        self.rivals = [one for one in self.compared if one != BASELINE] if BASELINE in self.trained else []
        self.group_names, counts, orders = _groups(done)
        self.is_by_size = len(np.unique(orders, axis=0)) > 1
        self.train_counts = counts[0] if self.trained else counts.ravel()
        self.by_size = np.argsort(-self.train_counts, kind="stable")
        counts = self.train_counts
        self.is_long_tail = bool(self.is_classification and counts.max(initial=0) > 2 * min(counts, default=0))
        self.has_fair_seconds = False
        if self.trained:
            keys = zip(done["label"], done["seed"], strict=True)
            histories = [_history(run, order) for (_, run), order in zip(done.iterrows(), orders, strict=True)]
            self.values = pd.concat(dict(zip(keys, histories, strict=True)), names=[*RUN, "epoch"])
            by_run = self.values.groupby(level=RUN, sort=False)
            self.measures = pd.DataFrame({run: self._measure(of_run) for run, of_run in by_run}).T.rename_axis(RUN)
            self.measures["preparation, s"] = done.set_index(RUN)["preparation_seconds"].astype(float)
            # Where a method's seeds differ much in seconds, only the machine can be the reason.
            seconds = self.measures["s an epoch"].groupby(level="label")
            self.has_fair_seconds = bool((seconds.max() <= UNEQUAL_SECONDS * seconds.min()).all())

    def _measure(self, run: pd.DataFrame) -> dict[str, float]:
        """What a run comes to: errors, on the way and at the end, in the task's unit; accuracies in per cent."""
        curve, groups, budget = run["whole"].iloc[1:], run["test"].iloc[-1].to_numpy(), self.config.get("time_budget")
        # The first epoch in which a share is over; a run that ends before its budget is read at its end.
        places = {at: math.ceil(share * len(curve)) - 1 for at, share in AT.items()}
        if budget is not None:
            found = {at: int(np.searchsorted(curve["seconds"], share * budget)) for at, share in AT.items()}
            places = {at: min(place, len(curve) - 1) for at, place in found.items()}
        errors = pd.Series(groups)
        # Where three does not divide the classes, the first thirds are the larger ones; fewer than three have none.
        thirds = np.array_split(self.by_size[: None if len(groups) >= len(THIRDS) else 0], len(THIRDS))
        return {
            **{at: curve["error"].iloc[place] for at, place in places.items()},
            "worst group": errors.max(),
            "largest group": errors[self.by_size[0]],
            "training": curve["weighed"].iloc[-1],
            "test": curve["error"].iloc[-1],
            "gap": curve["error"].iloc[-1] - curve["weighed"].iloc[-1],
            "balanced accuracy": 100 - errors.mean(),
            "worst class": 100 - errors.max(),
            **{name: 100 - errors[third].mean() for name, third in zip(THIRDS, thirds, strict=True)},
            "epochs": len(curve),
            "s an epoch": np.median(np.diff(curve["seconds"], prepend=0.0)),
        }

    def find(self, method: str) -> str | None:
        """The label to compare for a method: the method as such, else the first of its variants."""
        return next((label for label in self.compared if self.methods[label] == method), None)

    def curve(self, label: str, name: str = "error") -> pd.DataFrame:
        """A value after each epoch, a row an epoch and a column a seed; NaN after a seed's last one."""
        return self.values["whole", name][label].unstack("seed").loc[1:]

    def at_end(self) -> pd.DataFrame:
        """The groups' test errors at the end, by label and seed, a column a group."""
        return self.values["test"].groupby(level=RUN, sort=False).tail(1).droplevel("epoch")

    def shown(self, measure: str | pd.Series, digits: int | None = None) -> dict[str, str]:
        """Each method's mean of a measure with its interval, as text."""
        values = self.measures[measure] if isinstance(measure, str) else measure
        return {str(label): Interval.of(one).show(digits) for label, one in values.groupby(level="label")}

    def effect(self, label: str, other: str, measure: str = END) -> Effect:
        """Compare a method with another one on the seeds that both have, by ratio or by difference."""
        values = self.measures[measure]
        return Effect.of(values[label], values[other], is_ratio=measure not in DIFFERENCES)

    def ratios(self, measure: str) -> dict[str, str]:
        """Each method's ratio to the baseline, as text; nothing without a baseline."""
        return {label: self.effect(label, BASELINE, measure).show() for label in self.rivals}

    def gains(self, method: str) -> dict[str, str]:
        """What each method has in balanced accuracy over another one, as text; nothing without runs of that."""
        rival = self.find(method)
        others = [label for label in self.trained if rival not in (None, label)]
        return {label: self.effect(label, str(rival), "balanced accuracy").show() for label in others}

    def caught_up(self, label: str) -> pd.Series:
        """The epochs until each seed is first as good as the baseline with that seed at its end; NaN if it never is."""
        if BASELINE not in self.trained:
            return pd.Series(dtype=float)
        targets, errors = self.measures[END][BASELINE], self.curve(label)
        seeds = errors.columns.intersection(targets.index)
        reached = errors[seeds].le(targets[seeds], axis=1)
        return reached.idxmax().where(reached.any())

    def problems(self, label: str) -> dict[str, str]:
        """What there is no run of: failed, missing or left out, with the reason -> the seeds in words."""
        own = self.runs[self.runs["label"] == label]
        done, failed = set(own["seed"][own["objective"].notna()]), own.dropna(subset=["failure"])
        if own["reason"].any() and not done:
            return {f"left out: {own['reason'].dropna().iloc[0]}": "all"}
        found = {f"failed: {error}": list(seeds) for error, seeds in failed.groupby("failure", sort=False)["seed"]}
        found["missing"] = sorted(set(self.runs["seed"].dropna()) - done - set(failed["seed"]))
        named = {what: ", ".join(map(str, seeds)) for what, seeds in found.items() if seeds}
        return {what: f"seeds {text}" if "," in text else f"seed {text}" for what, text in named.items()}

    def status(self, label: str) -> str:
        """How many seeds there are, and which failed or are missing."""
        num_done = (self.runs["label"].eq(label) & self.runs["objective"].notna()).sum()
        problems = {what.partition(":")[0]: seeds for what, seeds in self.problems(label).items()}
        if "left out" in problems:
            return "left out"
        return "; ".join([str(num_done), *(f"{seeds} {what}" for what, seeds in problems.items())])


def _groups(runs: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The groups' names; their training samples, a row a run; and the order of its groups in each run.

    Where seeds cut other groups, those of equal rank by training samples are joined.
    """
    groups, names = list(runs["groups"]), list(runs["groups"].iloc[0]["names"]) if len(runs) else []
    for run in runs.itertuples():
        if run.groups["names"] != names:
            one, other = (f"{each.method} seed {each.seed}" for each in (next(runs.itertuples()), run))
            raise UserError(
                f"{run.task}: {one} and {other} were trained on different groups; keep them in different folders"
            )
    counts = np.array([of_run["train_counts"] for of_run in groups], dtype=int).reshape(len(groups), len(names))
    orders = np.argsort(-counts, axis=1, kind="stable")
    if len(np.unique(orders, axis=0)) <= 1:
        return names, counts, np.tile(np.arange(len(names)), (len(groups), 1))
    ends = {n: "th" if n // 10 % 10 == 1 else ENDINGS.get(n % 10, "th") for n in range(1, len(names) + 1)}
    ranks = [f"{rank}{end} largest" for rank, end in ends.items()]
    return ranks, np.take_along_axis(counts, orders, axis=1), orders


def _history(run: pd.Series, order: np.ndarray) -> pd.DataFrame:
    """A run's values with its groups in some order."""
    scale, history, groups = run["objective"]["scale"], pd.DataFrame(run["history"]), run["groups"]
    history.index += 1
    # What a mixing method trains on has its own mix: to compare it with the test part, groups weigh as they do there.
    shares = np.array(groups["test_counts"]) / sum(groups["test_counts"])
    unknown = [[math.nan] * len(order)] * len(history)
    trained = pd.DataFrame([*history.get("train_by_group", unknown)], history.index, dtype=float)
    whole = {
        "error": scale * history["test_error"].astype(float),
        "weighed": scale * (trained * shares).sum(axis=1, skipna=False),
        "seconds": history["train_seconds"].cumsum(),
    }
    by_group = {
        "test": scale * pd.DataFrame([*history["test_by_group"]], history.index, dtype=float),
        "mix": pd.DataFrame([groups["initial_proportions"], *history["proportions"]], dtype=float),
    }
    ordered = {name: frame[order].set_axis(range(len(order)), axis=1) for name, frame in by_group.items()}
    return pd.concat({"whole": pd.DataFrame(whole), **ordered}, axis=1).sort_index()
