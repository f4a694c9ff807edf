"""What all sections say together, as tables: a line a task, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.report.intervals import UNKNOWN, Effect
from experiments.report.sections import BALANCED, BASELINE, END, HALF, LEARNER, Section
from experiments.report.tables import RIVALS, Table, as_published, gains, published, published_measure, shown, table
from experiments.tasks import find_task

LONG_TAIL_LEARNER = "learn2mix-passes"
LONG_TAIL = (*RIVALS, "mix-adjusted", "fading", LONG_TAIL_LEARNER)
MATRICES = (
    (BASELINE, END, f"All methods against {BASELINE}"),
    (LEARNER, HALF, f"{LEARNER} against each, half-way"),
    (LEARNER, END, f"{LEARNER} against each, at the end"),
)


def overview(sections: Sequence[Section]) -> list[Table]:
    """All tables that the sections have the numbers for."""
    trained = [section for section in sections if section.trained]
    tables = (
        long_tail_table(trained),
        overview_table(trained),
        *(matrix(trained, *of_what) for of_what in MATRICES),
        worst_group_table(trained),
        train_test_table(trained),
        problem_table(sections),
    )
    return [one for one in tables if one is not None]


def long_tail_table(sections: Sequence[Section]) -> Table | None:
    """One line a task: the balanced accuracy of each method as such; None where ours was run on none."""
    rows = {}
    for section in sections:
        ours = section.find(LONG_TAIL_LEARNER)
        if ours is not None and section.is_long_tail:
            accuracy = shown(section.measures["balanced accuracy"], digits=1)
            of_methods = {name: accuracy[label] for name in LONG_TAIL if (label := section.find(name)) is not None}
            over = {f"{LONG_TAIL_LEARNER} over {rival}": gains(section, rival).get(ours, "-") for rival in RIVALS}
            rows[section.title] = {"seeds": str(len(section.measures.loc[ours])), **of_methods, **over}
    note = (
        "Balanced accuracy at the end, %, mean over the seeds ± half of the 95 % t-interval; then the difference of "
        f"{LONG_TAIL_LEARNER} to the two baselines in points, with the same seed; a star where its interval leaves out "
        "0."
    )
    return _by_task("Long tails", note, rows, ("seeds", *LONG_TAIL))


def overview_table(sections: Sequence[Section]) -> Table | None:
    """One line a task: learn2mix against the baseline, ours and the paper's; None where no task has both."""
    rows = {}
    for section in sections:
        label = section.find(LEARNER)
        if label is None or not section.rivals:
            continue
        row = {"length": _length_of_runs(section), "measure": published_measure(section)}
        for at, when in ((HALF, "1/2"), (END, "end")):
            ours = shown(as_published(section, at))
            for method, one in ((BASELINE, BASELINE), (LEARNER, label)):
                theirs = published(section.task, method, at)
                row[f"{method}, {when}"] = ours[one] + ("" if theirs is None else f" (paper {theirs.show(2)})")
            row[f"ratio of errors, {when}"] = section.effect(label, BASELINE, at).show()
        rows[section.title + label.removeprefix(LEARNER)] = row
    note = (
        "Mean ± half of the 95 % t-interval over the seeds, after half and all of the training; in brackets what the "
        f"paper has. Ratio: of the test errors, {LEARNER}'s to {BASELINE}'s, below 1 is better; a difference is named "
        "only where the 95 % interval over paired seeds does not include 1."
    )
    return _by_task(f"{LEARNER} against {BASELINE}", note, rows)


def _length_of_runs(section: Section) -> str:
    """Seeds and length of the baseline's runs, with the task's own length where that is another."""
    config, num_seeds = section.config, len(section.measures.loc[BASELINE])
    epochs, usual = f"{config['epochs']} epochs", find_task(section.task, None).settings["epochs"].value
    if config["epochs"] != usual:
        epochs += f" (the task's: {usual})"
    if "time_budget" in config:
        epochs = f"at most {epochs} in {config['time_budget']:g} s"
    return f"{num_seeds} seed{'s' if num_seeds > 1 else ''}, {epochs}"


def matrix(sections: Sequence[Section], method: str, at: str, title: str) -> Table | None:
    """Ratios of errors after a share of the training, of or to one method; None without runs of it.

    Of learn2mix they are to every other method; to the baseline they are those of every other method.
    """
    rows = {}
    for section in sections:
        if (one := section.find(method)) is not None:
            others = [label for label in section.compared if label != one]
            pairs = [(other, one) if method == BASELINE else (one, other) for other in others]
            effects = [section.effect(ours, theirs, at).show() for ours, theirs in pairs]
            rows[section.title] = dict(zip(others, effects, strict=True))
    note = "Ratio of test errors, with its 95 % interval over paired seeds; below 1 is better"
    note += f", for {LEARNER}." if method == LEARNER else "."
    return _by_task(title, note, rows)


def worst_group_table(sections: Sequence[Section]) -> Table | None:
    """One line a task: the worst group's error, and learn2mix's ratios for it and for the largest group."""
    rows = {}
    for section in sections:
        label = section.find(LEARNER)
        if label is not None and section.rivals and len(section.group_names) > 1:
            worst, methods = shown(section.measures["worst group"]), (BASELINE, LEARNER, BALANCED, "static")
            found = {name: worst[one] for name in methods if (one := section.find(name)) is not None}
            kinds = ("worst group", "largest group")
            ratios = {f"ratio, {kind}": section.effect(label, BASELINE, kind).show() for kind in kinds}
            rows[section.title] = {**found, **ratios}
    note = (
        "Test error at the end of each seed's own worst group; then the ratio of "
        f"{LEARNER}'s error to {BASELINE}'s for the worst group and for the one with most training samples, with its "
        "95 % interval over paired seeds; below 1 is better. Units are those of each task's own table."
    )
    return _by_task("Worst and largest group", note, rows)


def train_test_table(sections: Sequence[Section]) -> Table | None:
    """Errors in training and on the test part, and their gap: does learn2mix overfit less?"""
    rows = []
    for section in sections:
        parts = {"training": section.measures["training"], "test": section.measures[END]}
        parts["gap"] = parts["test"] - parts["training"]
        for label in filter(None, map(section.find, (BASELINE, LEARNER, BALANCED))):
            row = {"method": label, **{name: shown(part)[label] for name, part in parts.items()}}
            if label in section.rivals:
                gaps = parts["gap"][label], parts["gap"][BASELINE]
                row[f"gap over {BASELINE}'s"] = Effect.of(*gaps, is_ratio=False).show(digits=None)
            if row["training"] != UNKNOWN:
                rows.append((section.title, row))
    note = (
        "Errors at the end, in the unit of each task's own table. A mixing method's samples as drawn have its own mix, "
        "so here the groups' errors in training weigh as much as these groups do in the test part. They are measured on "
        "the way through the last epoch, so they may lie above the test's. Gap: test - training; then its difference to "
        f"{BASELINE}'s with the same seed; a star where its interval leaves out 0."
    )
    return _listed("Training against test", note, rows)


def problem_table(sections: Sequence[Section]) -> Table | None:
    """Runs that failed, are missing or were left out, each with the reason; None where there are none."""
    rows = [
        (section.title, {"method": label, "run": seeds, "what": what})
        for section in sections
        for label in section.methods
        for what, seeds in section.problems(label).items()
    ]
    note = "Failed and missing runs are trained by the next run of the same command."
    return _listed("Failed, missing and left out", note, rows)


def _listed(title: str, note: str, rows: Sequence[tuple[str, Mapping[str, str]]]) -> Table | None:
    """A table with any number of rows a task; None without any."""
    return table(title, note, "task", [task for task, _ in rows], [row for _, row in rows]) if rows else None


def _by_task(title: str, note: str, rows: Mapping[str, Mapping[str, str]], first: Sequence[str] = ()) -> Table | None:
    """A table with a row a task; None without rows. It begins with some columns, whoever has them first."""
    made = _listed(title, note, [(task, row) for task, row in rows.items() if row])
    return made and made._replace(
        cells=made.cells.reindex(columns=[*dict.fromkeys([*first, *made.cells])], fill_value=UNKNOWN)
    )
