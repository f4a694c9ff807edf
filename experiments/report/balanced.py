"""Long tails: accuracies that count every class alike, and those of the large, the middle and the small classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from experiments.report.intervals import UNKNOWN, Interval
from experiments.report.results import Curve, Results, Section, paired
from experiments.report.tables import Table, show

RIVALS = ("balanced", "logit-adjusted-loss")
OURS = "learn2mix-passes"
LONG_TAIL = (*RIVALS, "mix-adjusted", "fading", OURS)
THIRDS = ("many", "middle", "few")


def balanced_table(section: Section) -> Table | None:
    """Balanced accuracy with its difference to strong baselines; None unless classes of unequal size are told apart."""
    curves = [curve for results in section.trained for curve in results.curves]
    if not section.is_classification or not all(_is_unequal(curve) for curve in curves):
        return None
    rivals = {name: _find(section, name) for name in RIVALS}
    rows = [
        (
            results.label,
            show(balanced_accuracy(results), digits=1),
            *(_difference(results, rival) for rival in rivals.values()),
            show(100 - results.worst_group, digits=1),
            *(show(third, digits=1) for third in thirds(results).T),
        )
        for results in section.trained
    ]
    return Table(
        "Balanced accuracy",
        "Mean of the classes' test accuracies at the end, %, and the worst of them in each run; then the mean of the "
        "third of the classes with most, middling and fewest training samples in each run. Over: the difference in "
        "points to a method with the same seed. All are means over the seeds ± half of the 95 % t-interval; a star "
        "where the interval of a difference leaves out 0.",
        ("method", "balanced accuracy", *(f"over {name}" for name in RIVALS), "worst class", *THIRDS),
        tuple(rows),
    )


def long_tail_table(sections: Sequence[Section]) -> Table | None:
    """One line a task: the balanced accuracy of each method as such; None where ours was run on none."""
    shown = [section for section in sections if balanced_table(section) is not None]
    rows = []
    for section in shown:
        found = {name: _find(section, name) for name in LONG_TAIL}
        ours = found[OURS]
        rows.append(
            (
                section.title,
                UNKNOWN if ours is None else str(len(ours.curves)),
                *(UNKNOWN if one is None else show(balanced_accuracy(one), digits=1) for one in found.values()),
                *(UNKNOWN if ours is None else _difference(ours, found[rival]) for rival in RIVALS),
            )
        )
    if not any(row[1] != UNKNOWN for row in rows):
        return None
    return Table(
        "Long tails",
        "Balanced accuracy at the end, %, mean over the seeds ± half of the 95 % t-interval; then the difference of "
        f"{OURS} to the two baselines in points, with the same seed; a star where its interval leaves out 0.",
        ("task", "seeds", *LONG_TAIL, *(f"{OURS} over {rival}" for rival in RIVALS)),
        tuple(row for row in rows if row[1] != UNKNOWN),
    )


def balanced_accuracy(results: Results) -> np.ndarray:
    """Each seed's mean accuracy of the classes at the end, in per cent, shape ``(num_seeds,)``."""
    return np.array([_accuracy(errors) for errors in results.final_group_errors])


def thirds(results: Results) -> np.ndarray:
    """Each seed's mean accuracy of the classes with many, middling and few training samples, ``(num_seeds, 3)``.

    Where three does not divide the classes, the first thirds are the larger ones; fewer than three classes have none.
    """
    if len(results.curves[0].by_size) < len(THIRDS):
        return np.full((len(results.curves), len(THIRDS)), np.nan)
    accuracies = [
        [_accuracy(curve.group_errors[-1, third]) for third in np.array_split(curve.by_size, len(THIRDS))]
        for curve in results.curves
    ]
    return np.array(accuracies)


def _accuracy(errors: np.ndarray) -> float:
    """Mean accuracy of the classes that have test samples; NaN where none has."""
    known = errors[~np.isnan(errors)]
    return 100 - float(known.mean()) if len(known) else np.nan


def _is_unequal(curve: Curve) -> bool:
    return curve.train_counts is not None and len(set(curve.train_counts.tolist())) > 1


def _find(section: Section, method: str) -> Results | None:
    """The method as such, else the first of its variants."""
    return next((results for results in section.compared if results.method == method), None)


def _difference(results: Results, rival: Results | None) -> str:
    if rival is None or rival is results:
        return UNKNOWN
    pairs = paired(results, balanced_accuracy(results), rival, balanced_accuracy(rival))
    return Interval.of(pairs[:, 0] - pairs[:, 1]).show_difference() if len(pairs) else UNKNOWN
