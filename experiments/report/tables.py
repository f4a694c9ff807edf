"""What the runs say, as tables: data frames of text that every renderer can show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.report.intervals import UNKNOWN, Interval
from experiments.report.sections import AT, BASELINE, RIVALS, THIRDS, Section

MAX_GROUPS = 20  # tables of more cannot be read
NOTES_FILE, PUBLISHED_FILE = (Path(__file__).with_name(name) for name in ("notes.txt", "published.csv"))
PARTS = (part.partition("\n") for part in NOTES_FILE.read_text(encoding="utf-8").split("\n# ")[1:])
NOTES = {title: " ".join(note.split()) for title, _, note in PARTS}
JOINED = " Seeds cut different groups, so those of equal rank by training samples are joined."
# The paper's Tables 1 and 2 (arXiv 2412.16482): mean and half of the 95 % t-interval over five seeds, on an RTX 3090.
# Classification is test accuracy in per cent, at shares of a budget of seconds; the rest is test mean squared error
# (of reconstructions summed over the pixels), at shares of the epochs.
PUBLISHED = pd.read_csv(PUBLISHED_FILE, index_col=["task", "method"])

Texts = Mapping[str, str]  # a row's by column, or a column's by row


class Table(NamedTuple):
    """A table: its first column, the index of the frame, names the rows; the cells are text."""

    title: str
    note: str
    cells: pd.DataFrame


def section_tables(section: Section) -> list[Table]:
    """All tables that a section has the numbers for."""
    made = {title: make(section) for title, make in SECTION_TABLES.items()} if section.trained else {}
    known = {title: cells for title, cells in made.items() if not cells.empty}
    return [error_table(section), *(Table(title, note_of(title, section), cells) for title, cells in known.items())]


def error_table(section: Section) -> Table:
    """Test errors on the way and at the end, and when each method catches up with the baseline."""
    columns: dict[str, Texts] = {"seeds": {label: section.status(label) for label in section.methods}}
    if section.trained:
        columns |= {at: section.shown(at) for at in AT}
        columns["catches up, epochs"] = {label: _caught_up(section.caught_up(label)) for label in section.trained}
        columns["worst group"] = section.shown("worst group")
    return Table(section.error_name, note_of("errors", section), cells_of(section.methods, columns))


def _ratio_cells(section: Section) -> pd.DataFrame:
    measures = {at: at for at in AT}
    if len(section.group_names) > 1:
        largest = f"largest group ({section.group_names[section.by_size[0]]})"
        measures |= {"worst group": "worst group", largest: "largest group"}
    return cells_of(section.rivals, {column: section.ratios(measure) for column, measure in measures.items()})


def _paper_cells(section: Section) -> pd.DataFrame:
    columns = {}
    for at in AT:
        columns[f"paper, {at}"] = {label: published(section, label, at) for label in section.compared}
        columns[f"ours, {at}"] = as_published(section, at)
    return cells_of(section.compared if section.task in PUBLISHED.index else [], columns)


def _balanced_cells(section: Section) -> pd.DataFrame:
    columns = {
        "balanced accuracy": section.shown("balanced accuracy", digits=1),
        **{f"over {rival}": section.gains(rival) for rival in RIVALS},
        **{name: section.shown(name, digits=1) for name in ("worst class", *THIRDS)},
    }
    return cells_of(section.trained if section.is_long_tail else [], columns)


def _group_cells(section: Section) -> pd.DataFrame:
    names = section.group_names if 1 < len(section.group_names) <= MAX_GROUPS else []
    by_group = [section.shown(errors) for _, errors in section.at_end().items()] if names else []
    columns = {label: dict(zip(names, [texts[label] for texts in by_group], strict=True)) for label in section.compared}
    counts = dict(zip(names, section.train_counts.astype(str), strict=False))
    return cells_of(names, {"training samples": counts, **columns}, name="group")


def _time_cells(section: Section) -> pd.DataFrame:
    columns = {
        "s an epoch": section.shown("s an epoch"),
        "ratio": section.ratios("s an epoch"),
        "epochs": section.shown("epochs", digits=0),
        "preparation, s": section.shown("preparation, s"),
    }
    return cells_of(section.compared if section.has_fair_seconds else [], columns)


SECTION_TABLES = {
    f"Ratio to {BASELINE}": _ratio_cells,
    "Beside the paper": _paper_cells,
    "Balanced accuracy": _balanced_cells,
    "Each group": _group_cells,
    "Time": _time_cells,
}


def note_of(name: str, section: Section) -> str:
    """What stands below a table or a picture of a section."""
    budget, joined = section.config.get("time_budget"), JOINED if section.is_by_size else ""
    length = "the epochs" if budget is None else f"the budget of {budget:g} s of training"
    return NOTES[name].format(error=section.error_name, measure=paper_measure(section), length=length, groups=joined)


def published(section: Section, label: str, at: str) -> str:
    """The paper's number after a share of the training; nothing where it has none."""
    place = 2 * list(AT).index(at)
    number = PUBLISHED.reindex([(section.task, section.methods[label])]).iloc[0, place : place + 2]
    return "" if number.isna().any() else Interval(*number).show(2)


def paper_measure(section: Section) -> str:
    """What the paper's tables hold, with its unit."""
    return "test accuracy, %" if section.is_classification else section.error_name


def as_published(section: Section, at: str) -> dict[str, str]:
    """Each method's mean in the paper's unit: accuracies where they have classes."""
    return section.shown(100 - section.measures[at] if section.is_classification else at)


def _caught_up(epochs: pd.Series) -> str:
    """The epochs of a method's seeds that did, and how many did where not all."""
    known = epochs.dropna()
    share = "" if len(known) == len(epochs) else f" ({len(known)}/{len(epochs)} seeds)"
    return UNKNOWN if epochs.empty else f"{Interval.of(known).show(1)}{share}" if len(known) else "never"


def cells_of(rows: Iterable[str], columns: Mapping[str, Texts], name: str = "method") -> pd.DataFrame:
    """The cells of a table by its columns."""
    return pd.DataFrame(columns, pd.Index([*rows], name=name), dtype=object).replace("", UNKNOWN).fillna(UNKNOWN)


def cells_by_row(rows: Sequence[tuple[str, Texts]], name: str) -> pd.DataFrame:
    """The cells of a table by its rows, which may have the same name."""
    frame = pd.DataFrame([texts for _, texts in rows], pd.Index([row for row, _ in rows], name=name), dtype=object)
    return frame.fillna(UNKNOWN)
