"""A section: the runs on one task with its settings, with a label a method; and what is measured of them."""

import json
import math
import re
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from experiments.errors import UserError
from experiments.report.intervals import UNKNOWN, Effect, Interval

LEARNER, LONG_TAIL_LEARNER, BASELINE, BALANCED = "learn2mix", "learn2mix-passes", "classical", "balanced"
AT = {"at 1/4": 1 / 4, "at 1/2": 1 / 2, "at the end": 1.0}  # shares of the training
HALF, END = "at 1/2", "at the end"
THIRDS = ("many", "middle", "few")
DIFFERENCES = ("balanced accuracy", "gap")  # what is compared by differences, not by ratios
RUN = ["label", "seed"]
UNKNOWN_OBJECTIVE = {"kind": "unknown", "error_name": "test error"}


class Section:
    """All runs on one task with the same settings of the task.

    Attributes:
        title, slug: the task, with those settings that tell it from other sections; and this in a file's name.
        runs: ``collect.COLUMNS`` and ``label``, in the order in which ``list`` shows methods.
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
        variants, done = runs.drop_duplicates("label").set_index("label"), runs[runs["objective"].notna()]
        self.methods: dict[str, str] = variants["method"].to_dict()
        self.own: dict[str, dict[str, Any]] = variants["own"].map(json.loads).to_dict()
        self.trained = list(done["label"].unique())
        self.compared = [one for one in self.trained if self.methods[one] not in set(self.trained) - {one}]
        self.rivals = [one for one in self.compared if one != BASELINE] if BASELINE in self.trained else []
        objective = next(iter(done["objective"]), UNKNOWN_OBJECTIVE)
        self.error_name, self.is_classification = objective["error_name"], objective["kind"] == "classification"
        self.is_long_tail = self.is_by_size = False
        if not self.trained:
            return
        self.group_names, self.train_counts, orders = _groups(done)
        self.is_by_size = bool((orders != orders[0]).any())
        self.by_size = np.argsort(-self.train_counts, kind="stable")
        self.is_long_tail = self.is_classification and bool(self.train_counts.max() > 2 * self.train_counts.min())
        histories = [_history(run, order) for (_, run), order in zip(done.iterrows(), orders, strict=True)]
        self.values = pd.concat(histories, keys=done[RUN].itertuples(index=False, name=None), names=[*RUN, "epoch"])
        by_run = self.values.groupby(level=RUN, sort=False)
        self.measures = pd.DataFrame({run: self._measure(of_run) for run, of_run in by_run}).T.rename_axis(RUN)
        self.measures["preparation, s"] = done.set_index(RUN)["preparation_seconds"].astype(float)

    def _measure(self, run: pd.DataFrame) -> dict[str, float]:
        """What a run comes to: errors, on the way and at the end, in the task's unit; accuracies in per cent."""
        curve, errors, budget = run["whole"].iloc[1:], run["test"].iloc[-1], self.config.get("time_budget")
        # The first epoch in which a share is over; a run that ends before its budget is read at its end.
        places = {at: math.ceil(share * len(curve)) - 1 for at, share in AT.items()}
        if budget is not None:
            places = {at: int(np.searchsorted(curve["seconds"], share * budget)) for at, share in AT.items()}
        # Where three does not divide the classes, the first thirds are the larger ones; fewer than three have none.
        thirds = np.array_split(self.by_size[: None if len(errors) >= len(THIRDS) else 0], len(THIRDS))
        last = curve.iloc[-1]
        return {
            **{at: curve["error"].iloc[min(place, len(curve) - 1)] for at, place in places.items()},
            "worst group": errors.max(),
            "largest group": errors[self.by_size[0]],
            "training": last["weighed"],
            "test": last["error"],
            "gap": last["error"] - last["weighed"],
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

    def caught_up(self, label: str) -> str:
        """The epochs until seeds are first as good as the baseline with that seed at its end, and how many ever are."""
        if BASELINE not in self.trained:
            return UNKNOWN
        targets, errors = self.measures[END][BASELINE], self.curve(label)
        seeds = errors.columns.intersection(targets.index)
        reached = errors[seeds].le(targets[seeds], axis=1)
        epochs = reached.idxmax()[reached.any()]
        share = "" if len(epochs) == len(seeds) else f" ({len(epochs)}/{len(seeds)} seeds)"
        return UNKNOWN if seeds.empty else f"{Interval.of(epochs).show(1)}{share}" if len(epochs) else "never"


def _groups(runs: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The groups' names, their training samples and, a row a run, the order in which that run has them.

    Where seeds cut other groups, those of equal rank by training samples are joined.
    """
    first = runs.iloc[0]
    names = first["groups"]["names"]
    for run in runs.itertuples():
        if run.groups["names"] != names:
            pair = f"{first['method']} seed {first['seed']} and {run.method} seed {run.seed}"
            raise UserError(f"{run.task}: {pair} were trained on different groups; keep them in different folders")
    counts = np.array([groups["train_counts"] for groups in runs["groups"]])
    orders = np.argsort(-counts, axis=1, kind="stable")
    if (orders == orders[0]).all():
        return names, counts[0], np.broadcast_to(np.arange(len(names)), orders.shape)
    return [f"no. {rank} by size" for rank in range(1, len(names) + 1)], np.sort(counts[0])[::-1], orders


def _history(run: pd.Series, order: np.ndarray) -> pd.DataFrame:
    """A run's values with its groups in some order."""
    scale, epochs, groups, unknown = run["objective"]["scale"], run["history"], run["groups"], [math.nan] * len(order)

    def rows(name: str, *first: list[float]) -> np.ndarray:
        return np.array([*first, *(epoch.get(name, unknown) for epoch in epochs)], dtype=float)

    # What a mixing method trains on has its own mix: to compare it with the test part, groups weigh as they do there.
    weighed = rows("train_by_group") @ (np.array(groups["test_counts"]) / sum(groups["test_counts"]))
    whole = {"error": scale * rows("test_error"), "weighed": scale * weighed, "seconds": rows("train_seconds").cumsum()}
    by_group = {
        "test": scale * rows("test_by_group", unknown)[:, order],
        "mix": rows("proportions", groups["initial_proportions"])[:, order],
    }
    columns = [*(("whole", name) for name in whole), *product(by_group, range(len(order)))]
    of_whole = np.insert(np.column_stack([*whole.values()]), 0, math.nan, axis=0)
    return pd.DataFrame(np.hstack([of_whole, *by_group.values()]), columns=pd.MultiIndex.from_tuples(columns))
