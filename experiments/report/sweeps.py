"""Settings that were varied: which runs of a task differ in one alone, and what that changes, as table and picture."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from experiments.report.collect import telling_apart
from experiments.report.pictures import DASHES, Look, Picture, draw_lines, looks, panels, styled, to_svg
from experiments.report.sections import BASELINE, END, HALF, LEARNER, Section
from experiments.report.tables import Table, Texts, cells_of, note_of

Points = dict[Any, tuple[Section, str]]  # a setting's values -> the section and the label of the runs with it


class Sweep(NamedTuple):
    """The runs of a task at several values of a setting, by line: a method, with what else was varied."""

    setting: str
    values: list[Any]
    lines: dict[str, Points]

    @property
    def section(self) -> Section:
        return next(section for points in self.lines.values() for section, _ in points.values())


def sweeps(sections: Sequence[Section]) -> list[Sweep]:
    """What was varied in the sections of a task, or by a method's own settings.

    Where several settings were varied as a grid, the one with most values is swept; the others tell lines apart.
    """
    runs = [(one, label, {**one.config, **one.own[label]}) for one in sections for label in one.trained]
    found = [_sweep(setting, runs) for setting in sorted({name for *_, config in runs for name in config})]
    found = sorted((one for one in found if one.lines), key=lambda one: -len(one.values))
    swept = [{(one.title, label) for points in of.lines.values() for one, label in points.values()} for of in found]
    return [one for place, one in enumerate(found) if not any(swept[place] <= other for other in swept[:place])]


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
    # Numbers by their size, then words.
    values = sorted(sections, key=lambda one: (0, one, "") if isinstance(one, int | float) else (1, 0, str(one)))
    return Sweep(setting, values, lines)


def sweep_table(sweep: Sweep) -> Table:
    """Errors half-way and at the end, and ratios to the baseline with the same settings: of learn2mix, if it varies."""
    rows = list[tuple[str, Texts]]()
    for line, points in sweep.lines.items():
        for at in (HALF, END):
            means = {show_value(value): one.shown(at)[label] for value, (one, label) in points.items()}
            rows.append((line, {"error": at, **means}))
    for line in [line for line in sweep.lines if line.partition(" (")[0] == LEARNER] or sweep.lines:
        effects = dict[str, str]()
        for value, (one, label) in sweep.lines[line].items():
            if label != BASELINE and BASELINE in one.trained:
                effects[show_value(value)] = one.effect(label, BASELINE).show()
        rows += [(f"{line} / {BASELINE}", {"error": END, **effects})] if effects else []
    cells = cells_of([row for _, row in rows], [line for line, _ in rows])
    columns = ["error", *map(show_value, sweep.values)]
    return Table(f"{sweep.section.task}: error by {sweep.setting}", note_of("sweep", sweep.section), cells[columns])


def show_value(value: Any) -> str:
    """A setting's value as text."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def picture_of_sweep(sweep: Sweep) -> Picture:
    """The picture of a setting that was varied."""
    title, caption = f"{sweep.section.error_name}, by {sweep.setting}", note_of("values", sweep.section)
    return Picture(sweep.setting, title, caption, to_svg(draw_sweep(sweep)))


@styled
def draw_sweep(sweep: Sweep) -> Figure:
    """The errors at the end against a setting's values, side by side."""
    lines, styles, num_lines = dict[str, pd.DataFrame](), dict[str, Look](), Counter[str]()
    for line, points in sweep.lines.items():
        errors = {sweep.values.index(value): one.measures[END][label] for value, (one, label) in points.items()}
        frame, method = pd.DataFrame(errors).dropna().T.sort_index(), line.partition(" (")[0]
        if not frame.empty:  # a method's lines have its colour, and each its own dashes
            dash = DASHES[num_lines[method] % len(DASHES)]
            num_lines[method] += 1
            name = method + "".join(f", {value}" for value in re.findall(r"=([^,)]+)", line))
            lines[name], styles[name] = frame, looks([method])[method] | {"linestyle": dash}
    figure, (ax,) = panels(1, 246)
    draw_lines(ax, lines, styles, whole_bands=True)
    ax.set_xticks(range(len(sweep.values)), [*map(show_value, sweep.values)])
    ax.margins(x=0.08)
    ax.set_xlabel(sweep.setting)
    return figure
