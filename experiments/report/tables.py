"""What the runs say, as tables: data frames of text that every renderer can show."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from experiments.report.intervals import UNKNOWN
from experiments.report.sections import AT, BALANCED, BASELINE, END, HALF, LEARNER, LONG_TAIL_LEARNER, THIRDS, Section
from experiments.tasks import find_task

RIVALS = (BALANCED, "logit-adjusted-loss")  # what a method for long tails has to be better than
LONG_TAIL = (*RIVALS, "mix-adjusted", "fading", LONG_TAIL_LEARNER)
MAX_GROUPS = 20  # a picture of more cannot be read
PARTS = Path(__file__).with_name("notes.txt").read_text(encoding="utf-8").split("\n# ")[1:]
NOTES = {title: " ".join(note.split()) for title, _, note in (part.partition("\n") for part in PARTS)}
UNEQUAL_SECONDS = 2  # where a method's seeds differ by more than this factor, something else had the machine
JOINED = " Seeds cut different groups, so those of equal rank by training samples are joined."
# The paper's Tables 1 and 2 (arXiv 2412.16482), five seeds on an RTX 3090: test accuracy in per cent at shares of a
# budget of seconds; without classes the test MSE (of reconstructions summed over the pixels) at shares of the epochs.
PUBLISHED = pd.read_csv(Path(__file__).with_name("published.csv"), index_col=["task", "method"], keep_default_na=False)

Texts = Mapping[str, str]  # a row's by column, or a column's by row


class Table(NamedTuple):
    """A table: its first column, the index of the frame, names the rows; the cells are text."""

    title: str
    note: str
    cells: pd.DataFrame


def cells_of(texts: Mapping[str, Texts] | Sequence[Texts], rows: Iterable[str], name: str = "method") -> pd.DataFrame:
    """The cells of a table from its columns, or from its rows, which may have the same name."""
    return pd.DataFrame(texts, pd.Index([*rows], name=name), dtype=object).fillna(UNKNOWN)


def note_of(name: str, section: Section) -> str:
    """What stands below a table or a picture of a section."""
    budget = section.config.get("time_budget")
    length = "the epochs" if budget is None else f"the budget of {budget:g} s of training"
    return NOTES[name].format(error=section.error_name, length=length, groups=JOINED if section.is_by_size else "")


def error_table(section: Section) -> Table:
    """Test errors on the way and at the end, and when each method catches up with the baseline."""
    num_seeds = section.runs["objective"].notna().groupby(section.runs["label"]).sum().astype(str)
    columns: dict[str, Texts] = {"seeds": num_seeds.to_dict()}
    if section.trained:
        columns |= {at: section.shown(at) for at in AT}
        columns["catches up, epochs"] = {label: section.caught_up(label) for label in section.trained}
        columns["worst group"] = section.shown("worst group")
    return Table(section.error_name, note_of("errors", section), cells_of(columns, section.methods))


def section_tables(section: Section) -> list[Table]:
    """All tables that a section has the numbers for."""
    tables, shown = [error_table(section)], section.shown

    def add(title: str, columns: Mapping[str, Texts], rows: Iterable[str], name: str = "method") -> None:
        tables.append(Table(title, note_of(title, section), cells_of(columns, rows, name)))

    if section.rivals:
        ratios = {at: section.ratios(at) for at in AT}
        if len(section.group_names) > 1:
            largest = f"largest group ({section.group_names[section.by_size[0]]})"
            ratios |= {"worst group": section.ratios("worst group"), largest: section.ratios("largest group")}
        add(f"Ratio to {BASELINE}", ratios, section.rivals)
    if section.is_long_tail:
        balanced = {"balanced accuracy": shown("balanced accuracy", 1)}
        balanced |= {f"over {rival}": section.gains(rival) for rival in RIVALS}
        balanced |= {name: shown(name, 1) for name in ("worst class", *THIRDS)}
        add("Balanced accuracy", balanced, section.trained)
    if section.trained:
        seconds = section.measures["s an epoch"].groupby(level="label")
        if (seconds.max() <= UNEQUAL_SECONDS * seconds.min()).all():
            time = {"s an epoch": shown("s an epoch"), "ratio": section.ratios("s an epoch")}
            time |= {"epochs": shown("epochs", 0), "preparation, s": shown("preparation, s")}
            add("Time", time, section.compared)
        environments, commands = section.runs["environment"].dropna(), section.runs["command"].dropna().unique()
        made_with = {
            "command": "; ".join(commands) or UNKNOWN,
            "settings": str(section.runs["shared"].iloc[0]),
            "made on": "; ".join(environments.map(json.dumps).unique()) or UNKNOWN,
        }
        add("How the runs were made", {"what": made_with}, made_with, "of all runs")
    return tables


def overview(sections: Sequence[Section]) -> list[Table]:
    """All tables on several tasks that the sections have the numbers for."""
    return [made for title in OVERVIEW if (made := overview_table(title, sections)) is not None]


def overview_table(title: str, sections: Sequence[Section]) -> Table | None:
    """One of the tables on several tasks; None without numbers."""
    rows = [(section.title, row) for section in sections for row in OVERVIEW[title](section)]
    names = [name for name, _ in rows]
    return Table(title, NOTES[title], cells_of([row for _, row in rows], names, "task")) if rows else None


def _long_tail_rows(section: Section) -> list[Texts]:
    ours = section.find(LONG_TAIL_LEARNER)
    if ours is None or not section.is_long_tail:
        return []
    accuracy = section.shown("balanced accuracy", 1)
    of_methods = {name: accuracy.get(section.find(name) or name, UNKNOWN) for name in LONG_TAIL}
    over = {f"{LONG_TAIL_LEARNER} over {rival}": section.gains(rival).get(ours, UNKNOWN) for rival in RIVALS}
    return [{"seeds": str(len(section.measures.loc[ours])), **of_methods, **over}]


def _against_rows(section: Section) -> list[Texts]:
    ours = section.find(LEARNER)
    if ours is None or not section.rivals:
        return []
    variant, is_accuracy = "" if ours == LEARNER else f", {ours}", section.is_classification
    measure = "test accuracy, %" if is_accuracy else section.error_name
    row = {"length": _length_of_runs(section) + variant, "measure": measure}
    for at, when in ((HALF, "1/2"), (END, "end")):
        means = section.shown(100 - section.measures[at] if is_accuracy else at)
        for method, label in ((BASELINE, BASELINE), (LEARNER, ours)):
            theirs = PUBLISHED[at].get((section.task, method))
            row[f"{method}, {when}"] = means[label] + (f" (paper {theirs})" if theirs else "")
        row[f"ratio of errors, {when}"] = section.effect(ours, BASELINE, at).show()
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


def _matrix_rows(method: str, at: str, section: Section) -> list[Texts]:
    """Ratios of learn2mix to every other method; or of every other method to the baseline."""
    if (one := section.find(method)) is None:
        return []
    pairs = {two: (two, one) if method == BASELINE else (one, two) for two in section.compared if two != one}
    ratios = {two: section.effect(ours, theirs, at).show() for two, (ours, theirs) in pairs.items()}
    return [ratios] if ratios else []


def _worst_group_rows(section: Section) -> list[Texts]:
    ours = section.find(LEARNER)
    if ours is None or not section.rivals or len(section.group_names) < 2:
        return []
    worst = section.shown("worst group")
    row = {name: worst.get(section.find(name) or name, UNKNOWN) for name in (BASELINE, LEARNER, BALANCED, "static")}
    for what in ("worst group", "largest group"):
        row[f"ratio, {what}"] = section.effect(ours, BASELINE, what).show()
    return [row]


def _train_test_rows(section: Section) -> list[Texts]:
    rows = list[Texts]()
    for label in filter(None, map(section.find, (BASELINE, LEARNER, BALANCED) if section.find(LEARNER) else ())):
        row = {"method": label, **{part: section.shown(part)[label] for part in ("training", "test", "gap")}}
        if label in section.rivals:
            row[f"gap over {BASELINE}'s"] = section.effect(label, BASELINE, "gap").show(digits=None)
        rows += [row] if row["training"] != UNKNOWN else []
    return rows


def _problem_rows(section: Section) -> list[Texts]:
    """What there is no run of: failed, missing or left out, with the reason."""
    rows, planned = list[Texts](), set(section.runs["seed"].dropna())
    for label, runs in section.runs.groupby("label", sort=False):
        done, failed = set(runs["seed"][runs["objective"].notna()]), runs.dropna(subset=["failure"])
        found = {f"failed: {error}": list(seeds) for error, seeds in failed.groupby("failure", sort=False)["seed"]}
        found["missing"] = sorted(planned - done - set(failed["seed"]))
        if runs["reason"].any() and not done:
            found = {f"left out: {runs['reason'].dropna().iloc[0]}": ["all"]}
        rows += [{"method": label, "seeds": ", ".join(map(str, of)), "what": what} for what, of in found.items() if of]
    return rows


PROBLEMS = "Failed, missing and left out"
OVERVIEW: dict[str, Callable[[Section], list[Texts]]] = {
    "Long tails": _long_tail_rows,
    f"{LEARNER} against {BASELINE}": _against_rows,
    f"All methods against {BASELINE}": partial(_matrix_rows, BASELINE, END),
    f"{LEARNER} against each, half-way": partial(_matrix_rows, LEARNER, HALF),
    f"{LEARNER} against each, at the end": partial(_matrix_rows, LEARNER, END),
    "Worst and largest group": _worst_group_rows,
    "Training against test": _train_test_rows,
    PROBLEMS: _problem_rows,
}
