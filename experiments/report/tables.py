"""What the runs say, as tables: data frames of text that every renderer can show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.report.intervals import UNKNOWN, Interval
from experiments.report.sections import (
    AT,
    BALANCED,
    BASELINE,
    END,
    HALF,
    LEARNER,
    LONG_TAIL_LEARNER,
    RIVALS,
    THIRDS,
    Section,
)
from experiments.tasks import find_task

LONG_TAIL = (*RIVALS, "mix-adjusted", "fading", LONG_TAIL_LEARNER)
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


def error_table(section: Section) -> Table:
    """Test errors on the way and at the end, and when each method catches up with the baseline."""
    columns: dict[str, Texts] = {"seeds": {label: section.status(label) for label in section.methods}}
    if section.trained:
        columns |= {at: section.shown(at) for at in AT}
        columns["catches up, epochs"] = {label: _caught_up(section.caught_up(label)) for label in section.trained}
        columns["worst group"] = section.shown("worst group")
    return Table(section.error_name, note_of("errors", section), cells_of(section.methods, columns))


def section_tables(section: Section) -> list[Table]:
    """All tables that a section has the numbers for."""
    if not section.trained:
        return [error_table(section)]
    shown, groups, compared, ratios = section.shown, section.group_names, section.compared, {at: at for at in AT}
    if len(groups) > 1:
        ratios |= {"worst group": "worst group", f"largest group ({groups[section.by_size[0]]})": "largest group"}
    paper = dict[str, Texts]()
    for at in AT:
        paper[f"paper, {at}"] = {label: published(section, label, at) for label in compared}
        paper[f"ours, {at}"] = as_published(section, at)
    balanced = {
        "balanced accuracy": shown("balanced accuracy", digits=1),
        **{f"over {rival}": section.gains(rival) for rival in RIVALS},
        **{name: shown(name, digits=1) for name in ("worst class", *THIRDS)},
    }
    by_group = {name: shown(errors) for name, (_, errors) in zip(groups, section.at_end().items(), strict=True)}
    counts = {"training samples": dict(zip(groups, section.train_counts.astype(str), strict=True))}
    of_groups = {label: {name: texts[label] for name, texts in by_group.items()} for label in compared}
    time = {
        "s an epoch": shown("s an epoch"),
        "ratio": section.ratios("s an epoch"),
        "epochs": shown("epochs", digits=0),
    }
    tables: dict[str, tuple[Sequence[str], Mapping[str, Texts]]] = {
        f"Ratio to {BASELINE}": (section.rivals, {name: section.ratios(one) for name, one in ratios.items()}),
        "Beside the paper": (compared if section.task in PUBLISHED.index else [], paper),
        "Balanced accuracy": (section.trained if section.is_long_tail else [], balanced),
        "Each group": (groups if 1 < len(groups) <= MAX_GROUPS else [], counts | of_groups),
        "Time": (compared if section.has_fair_seconds else [], time | {"preparation, s": shown("preparation, s")}),
    }
    made = {title: cells_of(rows, columns) for title, (rows, columns) in tables.items() if rows}
    if "Each group" in made:
        made["Each group"].index.name = "group"
    return [error_table(section), *(Table(title, note_of(title, section), cells) for title, cells in made.items())]


def overview(sections: Sequence[Section]) -> list[Table]:
    """All tables on several tasks that the sections have the numbers for."""
    return [made for title in OVERVIEW if (made := overview_table(title, sections)) is not None]


def overview_table(title: str, sections: Sequence[Section]) -> Table | None:
    """One of the tables on several tasks; None without numbers."""
    rows = [(section.title, row) for section in sections for row in OVERVIEW[title](section) if row]
    return Table(title, NOTES[title], cells_by_row(rows, "task")) if rows else None


def _long_tail_rows(section: Section) -> Sequence[Texts]:
    ours = section.find(LONG_TAIL_LEARNER)
    if ours is None or not section.is_long_tail:
        return []
    accuracy = section.shown("balanced accuracy", digits=1)
    of_methods = {name: accuracy.get(section.find(name) or name, UNKNOWN) for name in LONG_TAIL}
    over = {f"{LONG_TAIL_LEARNER} over {rival}": section.gains(rival).get(ours, UNKNOWN) for rival in RIVALS}
    return [{"seeds": str(len(section.measures.loc[ours])), **of_methods, **over}]


def _against_rows(section: Section) -> Sequence[Texts]:
    label = section.find(LEARNER)
    if label is None or not section.rivals:
        return []
    variant = "" if label == LEARNER else f", {label}"
    row = {"length": _length_of_runs(section) + variant, "measure": section.paper_measure}
    for at, when in ((HALF, "1/2"), (END, "end")):
        for method, one in ((BASELINE, BASELINE), (LEARNER, label)):
            theirs = published(section, one, at)
            row[f"{method}, {when}"] = as_published(section, at)[one] + (theirs and f" (paper {theirs})")
        row[f"ratio of errors, {when}"] = section.effect(label, BASELINE, at).show()
    return [row]


def _length_of_runs(section: Section) -> str:
    """Seeds and length of the baseline's runs, with the task's own length where that is another."""
    config, num_seeds = section.config, len(section.measures.loc[BASELINE])
    epochs, usual = f"{config['epochs']} epochs", find_task(section.task, None).settings["epochs"].value
    if config["epochs"] != usual:
        epochs += f" (the task's: {usual})"
    if "time_budget" in config:
        epochs = f"at most {epochs} in {config['time_budget']:g} s"
    return f"{num_seeds} seed{'s' if num_seeds > 1 else ''}, {epochs}"


def _matrix_rows(method: str, at: str, section: Section) -> Sequence[Texts]:
    """Ratios of learn2mix to every other method; or of every other method to the baseline."""
    if (one := section.find(method)) is None:
        return []
    pairs = {two: (two, one) if method == BASELINE else (one, two) for two in section.compared if two != one}
    return [{two: section.effect(ours, theirs, at).show() for two, (ours, theirs) in pairs.items()}]


def _worst_group_rows(section: Section) -> Sequence[Texts]:
    label = section.find(LEARNER)
    if label is None or not section.rivals or len(section.group_names) < 2:
        return []
    worst, methods = section.shown("worst group"), (BASELINE, LEARNER, BALANCED, "static")
    ratios = {f"ratio, {what} group": section.effect(label, BASELINE, f"{what} group") for what in ("worst", "largest")}
    found = {name: worst.get(section.find(name) or name, UNKNOWN) for name in methods}
    return [{**found, **{name: ratio.show() for name, ratio in ratios.items()}}]


def _train_test_rows(section: Section) -> Sequence[Texts]:
    rows = list[Texts]()
    for label in filter(None, map(section.find, (BASELINE, LEARNER, BALANCED) if section.find(LEARNER) else ())):
        row = {"method": label, **{part: section.shown(part)[label] for part in ("training", "test", "gap")}}
        if label in section.rivals:
            row[f"gap over {BASELINE}'s"] = section.effect(label, BASELINE, "gap").show(digits=None)
        rows += [row] if row["training"] != UNKNOWN else []
    return rows


def _problem_rows(section: Section) -> Sequence[Texts]:
    problems = [(label, what, run) for label in section.methods for what, run in section.problems(label).items()]
    return [{"method": label, "run": run, "what": what} for label, what, run in problems]


PROBLEMS = "Failed, missing and left out"
# To be opened by who wants them.
LATER = (f"{LEARNER} against each, half-way", f"{LEARNER} against each, at the end", "Training against test")
OVERVIEW: dict[str, Callable[[Section], Sequence[Texts]]] = {
    "Long tails": _long_tail_rows,
    f"{LEARNER} against {BASELINE}": _against_rows,
    f"All methods against {BASELINE}": partial(_matrix_rows, BASELINE, END),
    LATER[0]: partial(_matrix_rows, LEARNER, HALF),
    LATER[1]: partial(_matrix_rows, LEARNER, END),
    "Worst and largest group": _worst_group_rows,
    "Training against test": _train_test_rows,
    PROBLEMS: _problem_rows,
}


def note_of(name: str, section: Section) -> str:
    """What stands below a table or a picture of a section."""
    budget, joined = section.config.get("time_budget"), JOINED if section.is_by_size else ""
    length = "the epochs" if budget is None else f"the budget of {budget:g} s of training"
    return NOTES[name].format(error=section.error_name, measure=section.paper_measure, length=length, groups=joined)


def published(section: Section, label: str, at: str) -> str:
    """The paper's number after a share of the training; nothing where it has none."""
    place = 2 * list(AT).index(at)
    number = PUBLISHED.reindex([(section.task, section.methods[label])]).iloc[0, place : place + 2]
    return "" if number.isna().any() else Interval(*number).show(2)


def as_published(section: Section, at: str) -> dict[str, str]:
    """Each method's mean in the paper's unit: accuracies where they have classes."""
    return section.shown(100 - section.measures[at] if section.is_classification else at)


def _caught_up(epochs: pd.Series) -> str:
    """The epochs of a method's seeds that did, and how many did where not all."""
    known = epochs.dropna()
    share = "" if len(known) == len(epochs) else f" ({len(known)}/{len(epochs)} seeds)"
    return UNKNOWN if epochs.empty else f"{Interval.of(known).show(1)}{share}" if len(known) else "never"


def cells_of(rows: Iterable[str], columns: Mapping[str, Texts]) -> pd.DataFrame:
    """The cells of a table by its columns."""
    return pd.DataFrame(columns, pd.Index([*rows], name="method"), dtype=object).replace("", UNKNOWN).fillna(UNKNOWN)


def cells_by_row(rows: Sequence[tuple[str, Texts]], name: str) -> pd.DataFrame:
    """The cells of a table by its rows, which may have the same name."""
    frame = pd.DataFrame([texts for _, texts in rows], pd.Index([row for row, _ in rows], name=name), dtype=object)
    return frame.fillna(UNKNOWN)
