"""What all sections say together, as tables: a line a task, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.intervals import UNKNOWN, Interval
from experiments.report.published import published
from experiments.report.results import BASELINE, Results, Section, listed, paired_ratio
from experiments.report.tables import Table, as_published, published_measure, rivals, show
from experiments.tasks import find_task

LEARNER = "learn2mix"


def overview_table(sections: Sequence[Section]) -> Table | None:
    """One line a task: learn2mix against the baseline, ours and the paper's; None where no task has both."""
    rows = [
        _overview_row(section, section.baseline, results)
        for section in sections
        for results in section.compared
        if section.baseline is not None and results.method == LEARNER
    ]
    if not rows:
        return None
    return Table(
        f"{LEARNER} against {BASELINE}",
        "Mean ± half of the 95 % t-interval over the seeds, after half and all of the training; in brackets what the "
        f"paper has. Ratio: of the test errors, {LEARNER}'s to {BASELINE}'s, below 1 is better; a difference is named "
        "only where the 95 % interval over paired seeds does not include 1.",
        (
            *("task", "length", "measure"),
            *(f"{BASELINE}, 1/2", f"{LEARNER}, 1/2", "ratio of errors, 1/2"),
            *(f"{BASELINE}, end", f"{LEARNER}, end", "ratio of errors, end"),
        ),
        tuple(rows),
    )


def _overview_row(section: Section, baseline: Results, results: Results) -> tuple[str, ...]:
    cells = []
    for place, fraction in ((1, 1 / 2), (2, 1.0)):
        for one in (baseline, results):
            ours, theirs = as_published(section, one, fraction), published(section.task, one.method)[place]
            cells.append(show(ours) if theirs is None else f"{show(ours)} (paper {theirs.show(2)})")
        cells.append(section.error_ratio(results, fraction).show())
    title = section.title + results.label.removeprefix(results.method)
    return title, _length_of_runs(section, baseline), published_measure(section), *cells


def _length_of_runs(section: Section, results: Results) -> str:
    """Seeds and length of a method's runs, with the task's own length where that is another."""
    epochs = f"{section.config['epochs']} epochs"
    usual = find_task(section.task, None).settings["epochs"].value
    if section.config["epochs"] != usual:
        epochs += f" (the task's: {usual})"
    if "time_budget" in section.config:
        epochs = f"at most {epochs} in {section.config['time_budget']:g} s"
    seconds = Interval.of([curve.seconds[-1] for curve in results.curves]).mean
    return f"{len(results.curves)} seed{'s' if len(results.curves) > 1 else ''}, {epochs}, {seconds:.3g} s a run"


def ratio_matrix(sections: Sequence[Section]) -> Table | None:
    """Every method on every task: the ratio to the baseline at the end, with its words; None without a baseline."""
    labels = list(dict.fromkeys(one.label for section in sections for one in rivals(section)))
    if not labels:
        return None
    rows = []
    for section in sections:
        by_label = {results.label: results for results in rivals(section)}
        if by_label:
            cells = [
                section.error_ratio(by_label[one], 1.0).show("\n") if one in by_label else UNKNOWN for one in labels
            ]
            rows.append((section.title, *cells))
    return Table(
        f"All methods against {BASELINE}",
        f"Ratio of the test error at the end to {BASELINE}'s, with its 95 % interval over paired seeds.",
        ("task", *labels),
        tuple(rows),
    )


def rival_table(sections: Sequence[Section], fraction: float, when: str) -> Table | None:
    """The ratio of learn2mix's error to that of every other method, with its words; None without learn2mix.

    Args:
        sections: one a row.
        fraction: of the training, after which they are compared.
        when: the same in words.
    """
    learners = [(section, one) for section in sections for one in section.compared if one.method == LEARNER]
    others = [{one.label: one for one in section.compared if one is not learner} for section, learner in learners]
    labels = list(dict.fromkeys(label for by_label in others for label in by_label))
    if not labels:
        return None
    rows = []
    for (section, learner), by_label in zip(learners, others, strict=True):
        ratios = (
            paired_ratio(learner, learner.at(fraction), by_label[label], by_label[label].at(fraction)).show("\n")
            if label in by_label
            else UNKNOWN
            for label in labels
        )
        rows.append((section.title, *ratios))
    return Table(
        f"{LEARNER} against each, {when}",
        f"Ratio of {LEARNER}'s test error to that of each other method, with its 95 % interval over paired seeds.",
        ("task", *labels),
        tuple(rows),
    )


def problem_table(sections: Sequence[Section]) -> Table | None:
    """Runs that failed, are missing or were left out, each with the reason; None where there are none."""
    rows = []
    for section in sections:
        for results in section.results:
            for error in dict.fromkeys(results.failures.values()):
                seeds = [seed for seed, of_seed in results.failures.items() if of_seed == error]
                rows.append((section.title, results.label, listed(seeds), f"failed: {error}"))
            if results.missing:
                rows.append((section.title, results.label, listed(results.missing), "missing"))
            if results.unsuitable is not None:
                rows.append((section.title, results.label, "all", f"left out: {results.unsuitable}"))
    if not rows:
        return None
    note = "Failed and missing runs are trained by the next run of the same command."
    return Table("Failed, missing and left out", note, ("task", "method", "run", "what"), tuple(rows), is_words=True)
