"""What a section says, as tables: data frames of text that every renderer can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from experiments.report.intervals import UNKNOWN, Interval, paired
from experiments.report.published import PUBLISHED, published
from experiments.report.sections import BASELINE, QUARTERS, Section

MAX_GROUPS = 20  # tables of more cannot be read
THIRDS = ("many", "middle", "few")
RIVALS = ("balanced", "logit-adjusted-loss")  # what a method for long tails has to be better than
AT = {f"at {name}": share for name, share in QUARTERS.items()}


class Table(NamedTuple):
    """A table: its first column, the index of the frame, names the rows; the cells are text."""

    title: str
    note: str
    cells: pd.DataFrame


def table(title: str, note: str, name: str, rows: Iterable[str], columns: Mapping[str, Any]) -> Table:
    """Make a table of columns, each a list of texts in the order of the rows or a mapping that has some of them."""
    rows = list(rows)
    cells = {
        column: [texts.get(row, UNKNOWN) for row in rows] if isinstance(texts, Mapping) else list(texts)
        for column, texts in columns.items()
    }
    return Table(title, note, pd.DataFrame(cells, index=pd.Index(rows, name=name), dtype=object))


def section_tables(section: Section) -> list[Table]:
    """All tables that a section has the numbers for."""
    tables = [error_table(section)]
    if section.trained:
        makers = (ratio_table, published_table, balanced_table, per_group_table, rate_table, time_table)
        tables += [made for maker in makers if (made := maker(section)) is not None]
    return tables


def error_table(section: Section) -> Table:
    """Test errors on the way and at the end, and when each method catches up with the baseline."""
    budget = section.config.get("time_budget")
    length = "the epochs" if budget is None else f"the budget of {budget:g} s of training"
    return table(
        section.error_name,
        f"Mean ± half of the 95 % t-interval over the seeds, after 1/4, 1/2 and all of {length}. Catches up: epochs "
        f"until a seed is first as good as {BASELINE} is at its end with the same seed. Worst group: each seed's own.",
        "method",
        section.labels,
        {
            "seeds": [section.status(label) for label in section.labels],
            **{column: shown(section.error_at(share)) for column, share in AT.items()},
            "catches up, epochs": _caught_up(section),
            "worst group": shown(section.worst_group),
        },
    )


def ratio_table(section: Section) -> Table | None:
    """Each method's errors as ratios to the baseline's; None without a baseline."""
    if not section.rivals:
        return None
    columns = {column: ratios(section, section.error_at(share)) for column, share in AT.items()}
    if len(section.group_names) > 1:
        largest = section.by_size[0]
        columns["worst group"] = ratios(section, section.worst_group)
        columns[f"largest group ({section.group_names[largest]})"] = ratios(section, section.group_errors[largest])
    return table(
        f"Ratio to {BASELINE}",
        f"Of {section.error_name}, below 1 is better: geometric mean over seeds of the ratio with the same seed, and "
        "the 95 % t-interval of its mean logarithm. A difference is named only where that leaves out 1; one in twenty "
        f"such intervals misses the truth. Groups: at the end.{group_note(section)}",
        "method",
        section.rivals,
        columns,
    )


def published_table(section: Section) -> Table | None:
    """Ours beside the paper's Tables 1 and 2; None where the paper has no such task."""
    if section.task not in PUBLISHED:
        return None
    columns: dict[str, Any] = {}
    for place, (column, share) in enumerate(AT.items()):
        theirs = {label: published(section.task, section.method(label))[place] for label in section.compared}
        columns[f"paper, {column}"] = {label: one.show(2) for label, one in theirs.items() if one is not None}
        columns[f"ours, {column}"] = shown(as_published(section, share))
    note = f"{published_measure(section)}. The paper's: five seeds, its own hardware and length."
    return table("Beside the paper", note, "method", section.compared, columns)


def balanced_table(section: Section) -> Table | None:
    """Balanced accuracy with its difference to strong baselines; None unless classes of unequal size are told apart."""
    if not section.is_long_tail:
        return None
    accuracy = balanced_accuracy(section)
    columns: dict[str, Any] = {"balanced accuracy": shown(accuracy, digits=1)}
    for name in RIVALS:
        rival, others = section.find(name), [label for label in section.trained if label != section.find(name)]
        columns[f"over {name}"] = {} if rival is None else {label: over(accuracy, label, rival) for label in others}
    columns["worst class"] = shown(100 - section.worst_group, digits=1)
    columns |= {third: shown(measure, digits=1) for third, measure in thirds(section).items()}
    return table(
        "Balanced accuracy",
        "Mean of the classes' test accuracies at the end, %, and the worst of them in each run; then the mean of the "
        "third of them with most, middling and fewest training samples. Over: the difference in points to a method "
        "with the same seed; a star where its interval leaves out 0.",
        "method",
        section.trained,
        columns,
    )


def per_group_table(section: Section) -> Table | None:
    """Every group's error with every method; None for one group, or more than can be read."""
    if not 2 <= len(section.group_names) <= MAX_GROUPS:
        return None
    by_group = [shown(section.group_errors[group]) for group in section.group_errors]
    columns: dict[str, Any] = {"training samples": section.train_counts.astype(str)}
    columns |= {label: [texts[label] for texts in by_group] for label in section.compared}
    note = f"{section.error_name} at the end.{group_note(section)}"
    return table("Each group", note, "group", section.group_names, columns)


def rate_table(section: Section) -> Table | None:
    """The error at several mixing rates; None where there are not several."""
    labels = [label for rates in mixing_rates(section).values() for label in rates.values()]
    if not labels:
        return None
    columns = {
        "mixing rate": [f"{section.own(label)['mixing_rate']:g}" for label in labels],
        "seeds": [section.status(label) for label in labels],
        **{column: shown(section.error_at(share)) for column, share in AT.items()},
        f"ratio to {BASELINE} at the end": ratios(section, section.error_at(1.0), labels),
    }
    made = table("Mixing rates", f"{section.error_name}; the paper's gamma.", "method", labels, columns)
    return made._replace(cells=made.cells.rename(index=section.method))


def time_table(section: Section) -> Table | None:
    """What an epoch costs, on equal terms; None where the seeds' seconds are too unequal to say."""
    if not section.has_fair_seconds:
        return None
    preparation = section.runs.set_index(["label", "seed"])["preparation_seconds"].dropna().astype(float)
    return table(
        "Time",
        "Seconds of training alone: each seed's median epoch. Preparation comes before the first step: the model, "
        "warm-up runs, extra samples. Jobs that share a machine disturb each other's times.",
        "method",
        section.compared,
        {
            "s an epoch": shown(section.epoch_seconds),
            "ratio": ratios(section, section.epoch_seconds),
            "epochs": shown(section.num_epochs, digits=0),
            "preparation, s": shown(preparation),
        },
    )


def mixing_rates(section: Section) -> dict[str, dict[float, str]]:
    """The labels that differ in nothing but the mixing rate, by method and rate; where there are several."""
    found: dict[str, dict[str, dict[float, str]]] = {}
    for label in section.trained:
        others = section.own(label)
        rate = others.pop("mixing_rate", None)
        if rate is not None:
            found.setdefault(section.method(label), {}).setdefault(str(others), {})[rate] = label
    largest = {method: max(variants.values(), key=len) for method, variants in found.items()}
    return {method: dict(sorted(rates.items())) for method, rates in largest.items() if len(rates) > 1}


def balanced_accuracy(section: Section) -> pd.Series:
    """The mean accuracy of the classes at the end, in per cent; of those that have test samples."""
    return 100 - section.group_errors.mean(axis=1)


def thirds(section: Section) -> dict[str, pd.Series]:
    """The mean accuracy of the classes with many, middling and few training samples.

    Where three does not divide the classes, the first thirds are the larger ones; fewer than three classes have none.
    """
    if len(section.by_size) < len(THIRDS):
        return dict.fromkeys(THIRDS, balanced_accuracy(section) * np.nan)
    parts = np.array_split(section.by_size, len(THIRDS))
    return {name: 100 - section.group_errors[part].mean(axis=1) for name, part in zip(THIRDS, parts, strict=True)}


def published_measure(section: Section) -> str:
    """What the paper's tables hold, with its unit."""
    return "test accuracy, %" if section.is_classification else section.error_name


def as_published(section: Section, share: float) -> pd.Series:
    """Each run's value in the paper's unit: accuracies where they have classes."""
    errors = section.error_at(share)
    return 100 - errors if section.is_classification else errors


def group_note(section: Section) -> str:
    """What a reader of groups should know, as a sentence after others; nothing where groups are what they seem."""
    return " Seeds cut different groups, so those of equal rank by training samples are joined." * section.is_by_size


def shown(measure: pd.Series, digits: int | None = None) -> dict[str, str]:
    """Each method's mean with its interval."""
    return {str(label): Interval.of(of_label).show(digits) for label, of_label in measure.groupby(level="label")}


def ratios(section: Section, measure: pd.Series, labels: Sequence[str] | None = None) -> dict[str, str]:
    """Each method's ratio to the baseline, with its words; nothing without a baseline."""
    labels = section.rivals if labels is None else labels
    return {label: section.ratio(measure, label, BASELINE).show() for label in labels if section.rivals}


def over(measure: pd.Series, label: str, rival: str) -> str:
    """The difference of a method to another one with the same seeds."""
    ours, theirs = paired(measure[label], measure[rival])
    return Interval.of(ours - theirs).show_difference()


def _caught_up(section: Section) -> dict[str, str]:
    """The epochs of each method's seeds that did, and how many did where not all."""
    texts = {}
    for label, epochs in section.caught_up().groupby(level="label"):
        known = epochs.dropna()
        share = "" if len(known) == len(epochs) else f" ({len(known)}/{len(epochs)} seeds)"
        texts[str(label)] = f"{Interval.of(known).show(1)}{share}" if len(known) else "never"
    return texts
