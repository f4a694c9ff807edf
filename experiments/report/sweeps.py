"""Settings that were varied: which runs of a task differ in one alone, and what that changes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from experiments.report.collect import telling_apart
from experiments.report.sections import BASELINE, END, HALF, LEARNER, Section
from experiments.report.tables import Table, shown, table

Points = dict[Any, tuple[Section, str]]  # a setting's values -> the section and the label of the runs with it


class Sweep(NamedTuple):
    """The runs of a task at several values of a setting, by line: a method, with what else was varied."""

    setting: str
    lines: dict[str, Points]

    @property
    def first(self) -> Section:
        """One of its sections."""
        return next(section for points in self.lines.values() for section, _ in points.values())

    @property
    def is_numeric(self) -> bool:
        """Whether the values lie on a scale."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for one in self.lines.values() for v in one)

    @property
    def values(self) -> list[Any]:
        """All values, numbers in their order."""
        found = list(dict.fromkeys(value for points in self.lines.values() for value in points))
        return sorted(found) if self.is_numeric else found

    @property
    def runs(self) -> set[tuple[str, str]]:
        """What is compared, by section and label."""
        return {(section.title, label) for points in self.lines.values() for section, label in points.values()}

    def errors(self, line: str) -> pd.DataFrame:
        """The errors at the end, a row a value and a column a seed, on the seeds that all of the line's values have."""
        points = self.lines[line]
        found = {v: points[v][0].measures[END][points[v][1]] for v in self.values if v in points}
        return pd.DataFrame(found).T.dropna(axis=1)


def sweeps(sections: Iterable[Section]) -> list[Sweep]:
    """What was varied in the sections of a task, or by a method's own settings.

    Where several settings were varied as a grid, the one with most values is swept; the others tell lines apart.
    """
    kept: list[Sweep] = []
    for _, of_task in groupby(sections, lambda section: section.task):
        points = [(one, label, {**one.config, **one.own[label]}) for one in of_task for label in one.trained]
        found = [_along(setting, points) for setting in sorted({name for *_, config in points for name in config})]
        found.sort(key=lambda one: (-len(one.values), not one.is_numeric))
        new = [one for place, one in enumerate(found) if not any(one.runs <= other.runs for other in found[:place])]
        kept += [one for one in new if one.lines]
    return kept


def _along(setting: str, points: Iterable[tuple[Section, str, dict[str, Any]]]) -> Sweep:
    by_method: dict[str, dict[str, Points]] = {}
    for section, label, config in points:
        if setting in config:
            others = json.dumps({name: value for name, value in config.items() if name != setting}, sort_keys=True)
            by_method.setdefault(section.methods[label], {}).setdefault(others, {})[config[setting]] = (section, label)
    lines: dict[str, Points] = {}
    for method, by_others in by_method.items():
        varied = {others: of_line for others, of_line in by_others.items() if len(of_line) > 1}
        suffixes = telling_apart(list(varied))
        lines |= {f"{method}{suffix}": of_line for suffix, of_line in zip(suffixes, varied.values(), strict=True)}
    places = {value: section for of_line in lines.values() for value, (section, _) in of_line.items()}
    if len({section.title for section in places.values()}) == 1 and BASELINE not in by_method:
        # A method's own setting: the baseline stands beside it, the same everywhere.
        lines |= {BASELINE: {value: (one, BASELINE) for value, one in places.items() if BASELINE in one.trained}}
    return Sweep(setting, {name: of_line for name, of_line in lines.items() if of_line})


def sweep_table(sweep: Sweep) -> Table:
    """Errors half-way and at the end, and learn2mix's ratio to the baseline with the same settings."""
    rows, ratios = [], []
    for line, points in sweep.lines.items():
        for at in (HALF, END):
            rows.append(
                (line, {"error": at} | {v: shown(one.measures[at])[label] for v, (one, label) in points.items()})
            )
        pairs = {v: (one, label) for v, (one, label) in points.items() if one.methods[label] == LEARNER and one.rivals}
        effects = {v: one.effect(label, BASELINE).show() for v, (one, label) in pairs.items()}
        ratios += [(f"{line} / {BASELINE}", {"error": END} | effects)] if effects else []
    names, cells = zip(*rows, *ratios, strict=True)
    note = (
        f"{sweep.first.error_name}, mean ± half of the 95 % t-interval over the seeds; then {LEARNER}'s ratio to "
        f"{BASELINE} with the same settings and seeds, below 1 is better."
    )
    made = table(f"{sweep.first.task}: error by {sweep.setting}", note, "method", names, list(cells))
    return made._replace(cells=made.cells[["error", *sweep.values]].rename(columns=show_value))


def show_value(value: Any) -> str:
    """A setting's value as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)
