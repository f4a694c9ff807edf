"""Settings that were varied: which runs of a task differ in one alone, and what that changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from experiments.report.collect import telling_apart
from experiments.report.sections import BASELINE, END, HALF, LEARNER, Section
from experiments.report.tables import Table, Texts, cells_by_row, note_of

Points = dict[Any, tuple[Section, str]]  # a setting's values -> the section and the label of the runs with it


class Sweep(NamedTuple):
    """The runs of a task at several values of a setting, by line: a method, with what else was varied."""

    setting: str
    values: list[Any]
    is_numeric: bool
    lines: dict[str, Points]

    @property
    def section(self) -> Section:
        """One of those whose runs they are."""
        return next(section for points in self.lines.values() for section, _ in points.values())

    @property
    def runs(self) -> set[tuple[str, str]]:
        """What is compared, by section and label."""
        return {(section.title, label) for points in self.lines.values() for section, label in points.values()}


def sweeps(sections: Sequence[Section]) -> list[Sweep]:
    """What was varied in the sections of a task, or by a method's own settings.

    Where several settings were varied as a grid, the one with most values is swept; the others tell lines apart.
    """
    runs = [(one, label, {**one.config, **one.own[label]}) for one in sections for label in one.trained]
    found = [_sweep(setting, runs) for setting in sorted({name for *_, config in runs for name in config})]
    found = sorted((one for one in found if one.lines), key=lambda one: (-len(one.values), not one.is_numeric))
    return [one for place, one in enumerate(found) if not any(one.runs <= other.runs for other in found[:place])]


def _sweep(setting: str, runs: Sequence[tuple[Section, str, dict[str, Any]]]) -> Sweep:
    by_method: dict[str, dict[str, Points]] = {}
    for section, label, config in runs:
        if setting in config:
            others = json.dumps({name: config[name] for name in sorted(config) if name != setting})
            by_method.setdefault(section.methods[label], {}).setdefault(others, {})[config[setting]] = (section, label)
    lines: dict[str, Points] = {}
    for method, by_others in by_method.items():
        varied = {others: points for others, points in by_others.items() if len(points) > 1}
        lines |= {method + what: points for what, points in zip(telling_apart([*varied]), varied.values(), strict=True)}
    sections = {value: section for points in lines.values() for value, (section, _) in points.items()}
    if BASELINE not in by_method and len({one.title for one in sections.values()}) == 1:
        # A method's own setting: the baseline stands beside it, the same everywhere.
        points = {value: (one, BASELINE) for value, one in sections.items() if BASELINE in one.trained}
        lines |= {BASELINE: points} if points else {}
    is_numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in sections)
    return Sweep(setting, sorted(sections) if is_numeric else list(sections), is_numeric, lines)


def sweep_table(sweep: Sweep) -> Table:
    """Errors half-way and at the end, and ratios to the baseline with the same settings: of learn2mix, if it varies."""
    rows = list[tuple[str, Texts]]()
    for line, points in sweep.lines.items():
        for at in (HALF, END):
            means = {show_value(value): one.shown(at)[label] for value, (one, label) in points.items()}
            rows.append((line, {"error": at, **means}))
    judged = [line for line in sweep.lines if method_of(line) == LEARNER] or sweep.lines
    for line in judged:
        pairs = {
            value: pair for value, pair in sweep.lines[line].items() if BASELINE in set(pair[0].trained) - {pair[1]}
        }
        effects = {show_value(value): one.effect(label, BASELINE).show() for value, (one, label) in pairs.items()}
        rows += [(f"{line} / {BASELINE}", {"error": END, **effects})] if effects else []
    cells = cells_by_row(rows, "method")
    columns = ["error", *map(show_value, sweep.values)]
    return Table(f"{sweep.section.task}: error by {sweep.setting}", note_of("sweep", sweep.section), cells[columns])


def method_of(line: str) -> str:
    """The name of a line's method."""
    return line.partition(" (")[0]


def show_value(value: Any) -> str:
    """A setting's value as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)
