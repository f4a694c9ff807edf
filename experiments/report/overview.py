"""What all sections say together, as tables: rows of a task each, and what there is no run of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from experiments.report.intervals import UNKNOWN
from experiments.report.sections import BALANCED, BASELINE, END, HALF, LEARNER, LONG_TAIL_LEARNER, RIVALS, Section
from experiments.report.tables import NOTES, Table, Texts, as_published, cells_by_row, paper_measure, published
from experiments.tasks import find_task

LONG_TAIL = (*RIVALS, "mix-adjusted", "fading", LONG_TAIL_LEARNER)


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
    return [{"seeds": str(section.num_seeds(ours)), **of_methods, **over}]


def _against_rows(section: Section) -> Sequence[Texts]:
    label = section.find(LEARNER)
    if label is None or not section.rivals:
        return []
    row = {"length": _length_of_runs(section), "measure": paper_measure(section)}
    for at, when in ((HALF, "1/2"), (END, "end")):
        for method, one in ((BASELINE, BASELINE), (LEARNER, label)):
            theirs = published(section, one, at)
            row[f"{method}, {when}"] = as_published(section, at)[one] + (theirs and f" (paper {theirs})")
        row[f"ratio of errors, {when}"] = section.effect(label, BASELINE, at).show()
    return [row]


def _length_of_runs(section: Section) -> str:
    """Seeds and length of the baseline's runs, with the task's own length where that is another."""
    config, num_seeds = section.config, section.num_seeds(BASELINE)
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
    rows = []
    for label in filter(None, map(section.find, (BASELINE, LEARNER, BALANCED))):
        row = {"method": label, **{part: section.shown(part)[label] for part in ("training", "test", "gap")}}
        if label in section.rivals:
            row[f"gap over {BASELINE}'s"] = section.effect(label, BASELINE, "gap").show(digits=None)
        rows += [row] if row["training"] != UNKNOWN else []
    return rows


def _problem_rows(section: Section) -> Sequence[Texts]:
    problems = [(label, what, run) for label in section.methods for what, run in section.problems(label).items()]
    return [{"method": label, "run": run, "what": what} for label, what, run in problems]


PROBLEMS = "Failed, missing and left out"
LATER = (f"{LEARNER} against each, half-way", f"{LEARNER} against each, at the end")  # to be opened by who wants them
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
