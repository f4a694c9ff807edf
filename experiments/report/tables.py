"""What a section says, as tables: data frames of text that every renderer can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from experiments.report.intervals import UNKNOWN, Interval
from experiments.report.sections import AT, BALANCED, BASELINE, END, THIRDS, Section

MAX_GROUPS = 20  # tables of more cannot be read
RIVALS = (BALANCED, "logit-adjusted-loss")  # what a method for long tails has to be better than

# The paper's Tables 1 and 2 (arXiv 2412.16482): mean and half of the 95 % t-interval over five seeds, on an RTX 3090.
# Classification is test accuracy in per cent, at shares of a budget of seconds; the rest is test mean squared error
# (of reconstructions summed over the pixels), at shares of the epochs.
PUBLISHED = pd.read_csv(Path(__file__).with_name("published.csv"), index_col=["task", "method"])


class Table(NamedTuple):
    """A table: its first column, the index of the frame, names the rows; the cells are text."""

    title: str
    note: str
    cells: pd.DataFrame


def table(title: str, note: str, name: str, rows: Iterable[str], cells: Mapping[str, Any] | list[Any]) -> Table:
    """Make a table of columns, each a mapping from rows to texts, or of a list of rows, each from columns to texts."""
    frame = pd.DataFrame(cells, index=pd.Index(rows, name=name), dtype=object)
    return Table(title, note, frame.fillna(UNKNOWN))


def section_tables(section: Section) -> list[Table]:
    """All tables that a section has the numbers for."""
    makers = (error_table, ratio_table, published_table, balanced_table, per_group_table, time_table)
    return [made for maker in makers[: None if section.trained else 1] if (made := maker(section)) is not None]


def error_table(section: Section) -> Table:
    """Test errors on the way and at the end, and when each method catches up with the baseline."""
    budget, measures = section.config.get("time_budget"), section.measures if section.trained else {}
    length = "the epochs" if budget is None else f"the budget of {budget:g} s of training"
    note = (
        f"Mean ± half of the 95 % t-interval over the seeds, after 1/4, 1/2 and all of {length}. Catches up: epochs "
        f"until a seed is first as good as {BASELINE} is at its end with the same seed. Worst group: each seed's own."
    )
    columns = {
        "seeds": {label: section.status(label) for label in section.methods},
        **{at: shown(measures[at]) for at in AT if at in measures},
        "catches up, epochs": {label: _caught_up(section.caught_up(label)) for label in section.trained},
        "worst group": shown(measures["worst group"]) if section.trained else {},
    }
    return table(section.error_name, note, "method", list(section.methods), columns)


def ratio_table(section: Section) -> Table | None:
    """Each method's errors as ratios to the baseline's; None without a baseline."""
    measures = {at: at for at in AT}
    if len(section.group_names) > 1:
        largest = f"largest group ({section.group_names[section.by_size[0]]})"
        measures |= {"worst group": "worst group", largest: "largest group"}
    note = (
        f"Of {section.error_name}, below 1 is better: geometric mean over seeds of the ratio with the same seed, and "
        "the 95 % t-interval of its mean logarithm. A difference is named only where that leaves out 1; one in twenty "
        f"such intervals misses the truth. Groups: at the end.{group_note(section)}"
    )
    columns = {column: ratios(section, measure) for column, measure in measures.items()}
    return table(f"Ratio to {BASELINE}", note, "method", section.rivals, columns) if section.rivals else None


def published_table(section: Section) -> Table | None:
    """Ours beside the paper's Tables 1 and 2; None where the paper has no such task."""
    if section.task not in PUBLISHED.index:
        return None
    columns = {}
    for at in AT:
        theirs = {label: published(section.task, section.methods[label], at) for label in section.compared}
        columns[f"paper, {at}"] = {label: one.show(2) for label, one in theirs.items() if one is not None}
        columns[f"ours, {at}"] = shown(as_published(section, at))
    note = f"{published_measure(section)}. The paper's: five seeds, its own hardware and length."
    return table("Beside the paper", note, "method", section.compared, columns)


def balanced_table(section: Section) -> Table | None:
    """Balanced accuracy with its difference to strong baselines; None unless classes of unequal size are told apart."""
    if not section.is_long_tail:
        return None
    note = (
        "Mean of the classes' test accuracies at the end, %, and the worst of them in each run; then the mean of the "
        "third of them with most, middling and fewest training samples. Over: the difference in points to a method "
        "with the same seed; a star where its interval leaves out 0."
    )
    columns = {
        "balanced accuracy": shown(section.measures["balanced accuracy"], digits=1),
        **{f"over {rival}": gains(section, rival) for rival in RIVALS},
        **{name: shown(section.measures[name], digits=1) for name in ("worst class", *THIRDS)},
    }
    return table("Balanced accuracy", note, "method", section.trained, columns)


def per_group_table(section: Section) -> Table | None:
    """Every group's error with every method; None for one group, or more than can be read."""
    names = section.group_names
    if not 2 <= len(names) <= MAX_GROUPS:
        return None
    by_group = [shown(errors) for _, errors in section.at_end("test").items()]
    columns = {label: [texts[label] for texts in by_group] for label in section.compared}
    note = f"{section.error_name} at the end.{group_note(section)}"
    return table("Each group", note, "group", names, {"training samples": section.train_counts.astype(str), **columns})


def time_table(section: Section) -> Table | None:
    """What an epoch costs, on equal terms; None where the seeds' seconds are too unequal to say."""
    if not section.has_fair_seconds:
        return None
    note = (
        "Seconds of training alone: each seed's median epoch. Preparation comes before the first step: the model, "
        "warm-up runs, extra samples. Jobs that share a machine disturb each other's times."
    )
    columns = {
        "s an epoch": shown(section.measures["s an epoch"]),
        "ratio": ratios(section, "s an epoch"),
        "epochs": shown(section.measures["epochs"], digits=0),
        "preparation, s": shown(section.measures["preparation, s"]),
    }
    return table("Time", note, "method", section.compared, columns)


def published(task: str, method: str, at: str) -> Interval | None:
    """The paper's number after a share of the training; None where it has none."""
    number = PUBLISHED.reindex([(task, method)]).iloc[0, 2 * list(AT).index(at) :]
    return None if number.iloc[:2].isna().any() else Interval(*number.iloc[:2])


def published_measure(section: Section) -> str:
    """What the paper's tables hold, with its unit."""
    return "test accuracy, %" if section.is_classification else section.error_name


def as_published(section: Section, at: str) -> pd.Series:
    """Each run's value in the paper's unit: accuracies where they have classes."""
    return 100 - section.measures[at] if section.is_classification else section.measures[at]


def group_note(section: Section) -> str:
    """What a reader of groups should know, as a sentence after others; nothing where groups are what they seem."""
    return " Seeds cut different groups, so those of equal rank by training samples are joined." * section.is_by_size


def shown(measure: pd.Series, digits: int | None = None) -> dict[str, str]:
    """Each method's mean with its interval."""
    return {str(label): Interval.of(values).show(digits) for label, values in measure.groupby(level="label")}


def ratios(section: Section, measure: str = END) -> dict[str, str]:
    """Each method's ratio to the baseline, with its words; nothing without a baseline."""
    return {label: section.effect(label, BASELINE, measure).show() for label in section.rivals}


def gains(section: Section, method: str) -> dict[str, str]:
    """What each method has in balanced accuracy over another one, in points; nothing without runs of that."""
    rival = section.find(method)
    others = [label for label in section.trained if rival not in (None, label)]
    return {one: section.effect(one, str(rival), "balanced accuracy").show() for one in others}


def _caught_up(epochs: pd.Series) -> str:
    """The epochs of a method's seeds that did, and how many did where not all."""
    known = epochs.dropna()
    share = "" if len(known) == len(epochs) else f" ({len(known)}/{len(epochs)} seeds)"
    return UNKNOWN if epochs.empty else f"{Interval.of(known).show(1)}{share}" if len(known) else "never"
