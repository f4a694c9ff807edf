"""What all sections say together, as tables: a line a task, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.report.intervals import listed
from experiments.report.published import published
from experiments.report.sections import BASELINE, LEARNER, Section
from experiments.report.tables import (
    RIVALS,
    Table,
    as_published,
    balanced_accuracy,
    over,
    published_measure,
    shown,
    table,
)
from experiments.tasks import find_task

LONG_TAIL_LEARNER = "learn2mix-passes"
MATRICES = (
    (BASELINE, 1.0, f"All methods against {BASELINE}"),
    (LEARNER, 1 / 2, f"{LEARNER} against each, half-way"),
    (LEARNER, 1.0, f"{LEARNER} against each, at the end"),
)
LONG_TAIL = (*RIVALS, "mix-adjusted", "fading", LONG_TAIL_LEARNER)


def overview(sections: Sequence[Section]) -> list[Table]:
    """All tables that the sections have the numbers for."""
    tables = (
        long_tail_table(sections),
        overview_table(sections),
        *(matrix(sections, *of_what) for of_what in MATRICES),
        problem_table(sections),
    )
    return [one for one in tables if one is not None]


def long_tail_table(sections: Sequence[Section]) -> Table | None:
    """One line a task: the balanced accuracy of each method as such; None where ours was run on none."""
    rows: dict[str, dict[str, str]] = {}
    for section in sections:
        found = {label: name for name in LONG_TAIL if (label := section.find(name)) is not None}
        ours = section.find(LONG_TAIL_LEARNER)
        if ours is not None and section.is_long_tail:
            accuracy = balanced_accuracy(section)
            row = {found[label]: text for label, text in shown(accuracy, digits=1).items() if label in found}
            gains = {f"{found[ours]} over {found[label]}": over(accuracy, ours, label) for label in found}
            rows[section.title] = {"seeds": str(len(accuracy[ours])), **row, **gains}
    if not rows:
        return None
    columns = ("seeds", *LONG_TAIL, *(f"{LONG_TAIL_LEARNER} over {rival}" for rival in RIVALS))
    return _by_task(
        "Long tails",
        "Balanced accuracy at the end, %, mean over the seeds ± half of the 95 % t-interval; then the difference of "
        f"{LONG_TAIL_LEARNER} to the two baselines in points, with the same seed; a star where its interval leaves out "
        "0.",
        columns,
        rows,
    )


def overview_table(sections: Sequence[Section]) -> Table | None:
    """One line a task: learn2mix against the baseline, ours and the paper's; None where no task has both."""
    rows = {}
    for section in sections:
        label = section.find(LEARNER)
        if label is None or not section.rivals:
            continue
        row = {"length": _length_of_runs(section), "measure": published_measure(section)}
        for place, when, share in ((1, "1/2", 1 / 2), (2, "end", 1.0)):
            ours = shown(as_published(section, share))
            for method, one in ((BASELINE, BASELINE), (LEARNER, label)):
                theirs = published(section.task, method)[place]
                row[f"{method}, {when}"] = ours[one] + ("" if theirs is None else f" (paper {theirs.show(2)})")
            row[f"ratio of errors, {when}"] = section.ratio(section.error_at(share), label, BASELINE).show()
        rows[section.title + label.removeprefix(LEARNER)] = row
    if not rows:
        return None
    return _by_task(
        f"{LEARNER} against {BASELINE}",
        "Mean ± half of the 95 % t-interval over the seeds, after half and all of the training; in brackets what the "
        f"paper has. Ratio: of the test errors, {LEARNER}'s to {BASELINE}'s, below 1 is better; a difference is named "
        "only where the 95 % interval over paired seeds does not include 1.",
        list(next(iter(rows.values()))),
        rows,
    )


def _length_of_runs(section: Section) -> str:
    """Seeds and length of the baseline's runs, with the task's own length where that is another."""
    config, num_seeds = section.config, len(section.num_epochs[BASELINE])
    epochs, usual = f"{config['epochs']} epochs", find_task(section.task, None).settings["epochs"].value
    if config["epochs"] != usual:
        epochs += f" (the task's: {usual})"
    if "time_budget" in config:
        epochs = f"at most {epochs} in {config['time_budget']:g} s"
    return f"{num_seeds} seed{'s' if num_seeds > 1 else ''}, {epochs}"


def matrix(sections: Sequence[Section], method: str, share: float, title: str) -> Table | None:
    """Ratios of errors after a share of the training, of or to one method; None without runs of it.

    Of learn2mix they are to every other method; to the baseline they are those of every other method.
    """
    rows = {}
    for section in sections:
        one, errors = section.find(method), section.error_at(share)
        others = [] if one is None else [label for label in section.compared if label != one]
        pairs = [(other, one) if method == BASELINE else (one, other) for other in others]
        if pairs:
            texts = (section.ratio(errors, *map(str, pair)).show("\n") for pair in pairs)
            rows[section.title] = dict(zip(others, texts, strict=True))
    note = "Ratio of test errors, with its 95 % interval over paired seeds; below 1 is better"
    note += f", for {LEARNER}." if method == LEARNER else "."
    return _by_task(title, note, list(dict.fromkeys(label for row in rows.values() for label in row)), rows)


def problem_table(sections: Sequence[Section]) -> Table | None:
    """Runs that failed, are missing or were left out, each with the reason; None where there are none."""
    rows = []
    for section in sections:
        for label in section.labels:
            failed, missing, reason = section.gaps(label)
            for error in dict.fromkeys(failed.values()):
                seeds = [seed for seed, of_seed in failed.items() if of_seed == error]
                rows.append((section.title, label, listed(seeds), f"failed: {error}"))
            if missing:
                rows.append((section.title, label, listed(missing), "missing"))
            if reason is not None:
                rows.append((section.title, label, "all", f"left out: {reason}"))
    if not rows:
        return None
    tasks, *columns = zip(*rows, strict=True)
    note = "Failed and missing runs are trained by the next run of the same command."
    return table(
        "Failed, missing and left out", note, "task", tasks, dict(zip(("method", "run", "what"), columns, strict=True))
    )


def _by_task(title: str, note: str, columns: Sequence[str], rows: dict[str, dict[str, Any]]) -> Table | None:
    """A table with a row a task; None without columns."""
    if not columns:
        return None
    texts = {column: {task: row[column] for task, row in rows.items() if column in row} for column in columns}
    return table(title, note, "task", rows, texts)
