"""What a section says, as tables: data that every renderer can show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from experiments.report.intervals import UNKNOWN, Interval
from experiments.report.published import PUBLISHED, published
from experiments.report.results import BASELINE, QUARTERS, Results, Section

# Tables of more groups than this cannot be read.
MAX_GROUPS = 20


@dataclass(frozen=True)
class Table:
    """A table to be rendered: the first column names the rows; the cells are numbers as text, or words."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_words: bool = False

    def without(self, column: str) -> Table:
        """The table with a column less."""
        place = self.columns.index(column)
        columns, *rows = ((*row[:place], *row[place + 1 :]) for row in (self.columns, *self.rows))
        return replace(self, columns=columns, rows=tuple(rows))


def error_table(section: Section) -> Table:
    """Test errors on the way and at the end, and when each method catches up with the baseline."""
    rows = [
        (
            results.label,
            results.status(),
            *(show(results.at(fraction)) for fraction in QUARTERS.values()),
            *caught_up(results, section.baseline),
            show(results.worst_group),
        )
        for results in section.results
    ]
    return Table(
        section.error_name,
        f"Mean over the seeds ± half of its 95 % t-interval, after 1/4, 1/2 and all of {_length(section)}. "
        f"Catches up: the epochs, and the seconds of training, after which a seed is first as good as {BASELINE} is at "
        "its end with the same seed. Worst group: the largest test error of a group at the end, found for each seed on "
        "its own.",
        ("method", "seeds", *_at_columns(), "catches up, epochs", "catches up, s", "worst group"),
        tuple(rows),
    )


def ratio_table(section: Section) -> Table | None:
    """Each method's error as a ratio to the baseline's; None without a baseline."""
    if not rivals(section):
        return None
    rows = [
        (results.label, *(section.error_ratio(results, fraction).show() for fraction in QUARTERS.values()))
        for results in rivals(section)
    ]
    return Table(
        f"Ratio to {BASELINE}",
        f"{section.error_name}: geometric mean over the seeds of the ratio to {BASELINE} with the same seed, and the "
        "95 % t-interval of its mean logarithm. Below 1 is better. A difference is named only where the interval does "
        "not include 1; one in twenty such intervals misses the truth.",
        ("method", *_at_columns()),
        tuple(rows),
    )


def published_table(section: Section) -> Table | None:
    """Ours beside the paper's Tables 1 and 2; None where the paper has no such task."""
    if section.task not in PUBLISHED:
        return None
    rows = []
    for results in section.compared:
        theirs = published(section.task, results.method)
        pairs = zip(theirs, QUARTERS.values(), strict=True)
        cells = [
            (UNKNOWN if them is None else them.show(2), show(as_published(section, results, at))) for them, at in pairs
        ]
        rows.append((results.label, *(cell for pair in cells for cell in pair)))
    return Table(
        "Beside the paper",
        f"{published_measure(section)} at shares of the length of training, mean ± half of the 95 % t-interval. "
        "The paper's: five seeds, its own hardware and length; see the settings above for ours.",
        ("method", *(f"{who}, {when}" for when in _at_columns() for who in ("paper", "ours"))),
        tuple(rows),
    )


def group_table(section: Section) -> Table | None:
    """Worst and largest group against the baseline's; None without groups."""
    if len(section.group_names) < 2 or not section.train_counts:
        return None
    largest = section.largest_group
    baseline = section.baseline
    rows = []
    for results in section.compared:
        majority = results.final_group_errors[:, largest]
        cells = [
            show(results.worst_group),
            UNKNOWN if baseline is None else section.ratio(results, results.worst_group, baseline.worst_group).show(),
            show(majority),
            UNKNOWN
            if baseline is None
            else section.ratio(results, majority, baseline.final_group_errors[:, largest]).show(),
        ]
        if results is baseline:
            cells[1] = cells[3] = UNKNOWN
        rows.append((results.label, *cells))
    name = f"largest group ({section.group_names[largest]})"
    return Table(
        "Worst and largest group",
        f"{section.error_name} of a group at the end. The worst group is each seed's own; the largest has most "
        f"training samples ({section.train_counts[largest]}). Ratios to {BASELINE} as above; none where an error is 0."
        f"{section.group_note}",
        ("method", "worst group", "ratio", name, "ratio"),
        tuple(rows),
    )


def per_group_table(section: Section) -> Table | None:
    """Every group's error with every method; None for one group, or more than can be read."""
    if not 2 <= len(section.group_names) <= MAX_GROUPS or not section.train_counts:
        return None
    rows = [
        (name, str(section.train_counts[group]), *(show(one.final_group_errors[:, group]) for one in section.compared))
        for group, name in enumerate(section.group_names)
    ]
    return Table(
        "Each group",
        f"{section.error_name} at the end.{section.group_note}",
        ("group", "training samples", *(results.label for results in section.compared)),
        tuple(rows),
    )


def time_table(section: Section) -> Table:
    """What an epoch costs, on equal terms: training alone, the same data path."""
    baseline = section.baseline
    rows = []
    for results in section.compared:
        ratio = UNKNOWN
        if baseline is not None and results is not baseline:
            ratio = section.ratio(results, results.epoch_seconds, baseline.epoch_seconds).show()
        rows.append(
            (
                results.label,
                show(results.epoch_seconds),
                ratio,
                show([len(curve.errors) for curve in results.curves], digits=0),
                show([curve.seconds[-1] for curve in results.curves]),
                show([curve.preparation_seconds for curve in results.curves]),
            )
        )
    return Table(
        "Time",
        "Seconds of training alone, without evaluation: each seed's median epoch, its mean over the seeds ± half of "
        f"the 95 % t-interval, and the ratio to {BASELINE} with the same seed. Preparation comes before the first "
        "step: the model, warm-up runs, extra samples. Jobs that share a machine disturb each other's times.",
        ("method", "s an epoch", "ratio", "epochs", "s in all", "preparation, s"),
        tuple(rows),
    )


def rate_table(section: Section) -> Table | None:
    """The error at several mixing rates; None where there are not several."""
    by_method = mixing_rates(section)
    if not by_method:
        return None
    rows = [
        (
            method,
            f"{rate:g}",
            results.status(),
            *(show(results.at(fraction)) for fraction in QUARTERS.values()),
            section.error_ratio(results, 1.0).show(),
        )
        for method, rates in by_method.items()
        for rate, results in rates.items()
    ]
    return Table(
        "Mixing rates",
        f"{section.error_name}, and at the end its ratio to {BASELINE}, by the mixing rate (the paper's gamma).",
        ("method", "mixing rate", "seeds", *_at_columns(), f"ratio to {BASELINE} at the end"),
        tuple(rows),
    )


def mixing_rates(section: Section) -> dict[str, dict[float, Results]]:
    """The methods of which there are several runs that differ in nothing but the mixing rate, by that rate."""
    found: dict[str, dict[str, dict[float, Results]]] = {}
    for results in section.trained:
        others = {name: value for name, value in results.own.items() if name != "mixing_rate"}
        if "mixing_rate" in results.own:
            found.setdefault(results.method, {}).setdefault(str(others), {})[results.own["mixing_rate"]] = results
    largest = {method: max(variants.values(), key=len) for method, variants in found.items()}
    return {method: dict(sorted(rates.items())) for method, rates in largest.items() if len(rates) > 1}


def caught_up(results: Results, baseline: Results | None) -> tuple[str, str]:
    """Epochs and seconds of training until a seed's test error is first at or below the baseline's last one.

    Returns:
        The means with their intervals over the seeds that got there, and how many did where not all; "-" if there is
        no baseline with these seeds.
    """
    targets = {} if baseline is None else {curve.seed: curve.errors[-1] for curve in baseline.curves}
    paired = [curve for curve in results.curves if curve.seed in targets]
    if not paired:
        return UNKNOWN, UNKNOWN
    reached = [(curve, place) for curve in paired if (place := curve.reaches(targets[curve.seed])) is not None]
    if not reached:
        return "never", "never"
    share = "" if len(reached) == len(paired) else f" ({len(reached)}/{len(paired)} seeds)"
    epochs = [place + 1 for _, place in reached]
    seconds = [curve.seconds[place] for curve, place in reached]
    return f"{show(epochs, digits=1)}{share}", f"{show(seconds)}{share}"


def rivals(section: Section) -> list[Results]:
    """The methods to be compared with the baseline."""
    if section.baseline is None:
        return []
    return [results for results in section.compared if results is not section.baseline]


def published_measure(section: Section) -> str:
    """What the paper's tables hold, with its unit."""
    return "test accuracy, %" if section.is_classification else section.error_name


def as_published(section: Section, results: Results, fraction: float) -> np.ndarray:
    """Each seed's value in the paper's unit: accuracies where they have classes."""
    errors = results.at(fraction)
    return 100 - errors if section.is_classification else errors


def show(values: Sequence[float] | np.ndarray, digits: int | None = None) -> str:
    """The mean of one value a seed with its interval, or that it is not known."""
    return Interval.of(values).show(digits) if len(values) else UNKNOWN


def _at_columns() -> tuple[str, ...]:
    return tuple(f"at {name}" for name in QUARTERS)


def _length(section: Section) -> str:
    budget = section.config.get("time_budget")
    return "the epochs" if budget is None else f"the budget of {budget:g} s of training"
