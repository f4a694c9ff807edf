"""Pictures of a section and of a setting that was varied, each with what it shows in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.report.drawing import (
    DASHES,
    GREY,
    INK,
    MOST_PLACES,
    STRONG,
    Look,
    band,
    cut,
    draw_lines,
    label_ends,
    looks,
    needs_log,
    panels,
    scale,
    styled,
    thinned,
    to_svg,
)
from experiments.report.sections import END, Section
from experiments.report.sweeps import Sweep, method_of, show_value
from experiments.report.tables import note_of

MOST_NAMED = 20  # groups with names beside an axis
MOVERS = ("#3b82c4", "#c9680f", "#2f9e6e", "#c25a9a", "#8a63d2", "#a08414", "#3f9fb8", "#d0524a")  # groups by colour
LOG_VALUES_FROM = 5  # of a setting: a log axis for numbers that span more than this factor


class Picture(NamedTuple):
    """A picture: the end of its file's name, a title, what it shows in words, and its SVG."""

    name: str
    title: str
    caption: str
    svg: str


def draw_section(section: Section) -> list[Picture]:
    """All pictures that a section has the numbers for."""
    if not section.trained:
        return []
    error, strong = _capital(section.error_name), [label for label in section.compared if label in STRONG]
    moving = [label for label in section.compared if (section.values["mix"].loc[label].nunique() > 1).any()]
    moving = [label for label in moving if label in STRONG] or moving[:1]
    figures = {"curves": (f"{error}, by epoch", draw_curves(section, "epoch"))}
    if section.has_fair_seconds:
        figures["seconds"] = (f"{error}, by seconds", draw_curves(section, "seconds"))
    if len(section.group_names) > 1:
        figures["groups"] = (f"{error}, of each group at the end", draw_groups(section))
    if moving:
        figures["proportions"] = ("What batches are made of", draw_mix(section, moving))
    if strong:
        figures["train-test"] = ("Training against test", draw_train_test(section, strong))
    return [Picture(name, title, note_of(name, section), to_svg(figure)) for name, (title, figure) in figures.items()]


def picture_of(sweep: Sweep) -> Picture:
    """The picture of a setting that was varied."""
    title = f"{_capital(sweep.section.error_name)}, by {sweep.setting}"
    return Picture(sweep.setting, title, note_of("values", sweep.section), to_svg(draw_sweep(sweep)))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def over_seconds(section: Section, label: str, num_places: int = MOST_PLACES) -> pd.DataFrame:
    """The test error against seconds of training, from the end of the first epoch of all seeds.

    It ends where the first seed of any method does. Between two epochs a seed's error is interpolated linearly.
    """
    errors, seconds = section.curve(label), section.curve(label, "seconds")
    start, end = seconds.iloc[0].max(), min(section.curve(one, "seconds").max().min() for one in section.compared)
    # Seeds or methods of very different speed leave a single place.
    places = np.linspace(start, end, num_places) if end > start else np.array([start])
    return pd.DataFrame({s: np.interp(places, seconds[s].dropna(), errors[s].dropna()) for s in errors}, places)


@styled
def draw_curves(section: Section, by: str) -> Figure:
    """A line a method, with its band if it is one of those that matter most, and its name at its end."""
    along = over_seconds if by == "seconds" else lambda section, label: section.curve(label).dropna()
    values = {label: along(section, label) for label in section.compared}
    figure, (ax,) = panels([210], ["1000"], list(values))
    draw_lines(ax, values, looks(section.compared))
    ax.set_xlabel("seconds of training" if by == "seconds" else by)
    return figure


@styled
def draw_train_test(section: Section, labels: Sequence[str]) -> Figure:
    """A panel a method: its error in training and on the test part."""
    figure, axes = panels([88] * len(labels), ["1000"], ["training"])
    for ax, label in zip(axes, labels, strict=True):
        look = STRONG[label]._replace(dash="-", marker="")
        values = {"test": section.curve(label).dropna(), "training": section.curve(label, "weighed").dropna()}
        values = {part: frame for part, frame in values.items() if not frame.empty}
        draw_lines(ax, values, {"test": look, "training": look._replace(dash=DASHES[2])})
        ax.set_title(label, color=look.color)
    axes[-1].set_xlabel("epoch")
    return figure


@styled
def draw_mix(section: Section, labels: Sequence[str]) -> Figure:
    """The proportions before training and after each epoch, mean over the seeds, one panel a method."""
    paths = {label: section.values["mix"].loc[label].groupby(level="epoch").mean() for label in labels}
    for path in paths.values():
        path.iloc[-1] = path.iloc[-2]  # the last epoch leaves a mix for the next, which never comes
    moved = sum(path.max() - path.min() for path in paths.values())
    named = moved.sort_values(ascending=False, kind="stable").index[: len(MOVERS)].sort_values()
    names = [cut(section.group_names[group]) for group in named]
    styles = {name: Look(color, "-", "", False) for name, color in zip(names, MOVERS, strict=False)}
    figure, axes = panels([130 if len(labels) > 1 else 190] * len(labels), ["0.000"], names)
    for ax, (label, path) in zip(axes, paths.items(), strict=True):
        path = thinned(path)
        ax.plot(path.index, path.drop(columns=named), color=GREY, linewidth=0.6, drawstyle="steps-post")
        for group, look in zip(named, styles.values(), strict=True):
            ax.plot(path.index, path[group], color=look.color, linewidth=1.6, drawstyle="steps-post")
        ax.set_title(label, color=STRONG[label].color if label in STRONG else INK)
        scale(ax, "y")
        scale(ax, "x", is_whole=True)
        ax.margins(x=0)
        ends = {name: (path.index[-1], path[group].iloc[-1]) for name, group in zip(styles, named, strict=True)}
        label_ends(ax, ends, styles)
    axes[-1].set_xlabel("epoch")
    return figure


@styled
def draw_groups(section: Section) -> Figure:
    """Each group's error at the end, from most training samples at the top to fewest; many groups by their rank."""
    errors = section.at_end()
    values = {label: errors.loc[label].T.iloc[section.by_size] for label in section.compared}
    names, styles = [cut(section.group_names[group]) for group in section.by_size], looks(section.compared)
    strong = [label for label in values if styles[label].is_strong]
    if len(names) > MOST_NAMED:
        lines = {label: values[label].set_axis(range(1, len(names) + 1)) for label in strong or values}
        figure, (ax,) = panels([210], ["1000"], list(lines))
        draw_lines(ax, lines, styles)
        ax.set_xlabel("group, from most to fewest training samples")
        return figure
    is_log = needs_log([of_label.dropna() for of_label in values.values()])
    figure, (ax,) = panels([max(90, 21 * len(names))], names, ["    "])
    rows = np.arange(len(names))
    for label, look in styles.items():
        mean, low, high = band(values[label], is_log=is_log)
        # Those that matter stand apart within a row.
        shift = (strong.index(label) + 0.5) / len(strong) * 0.56 - 0.28 if look.is_strong else 0.0
        ax.errorbar(
            mean, rows + shift, xerr=(mean - low, high - mean) if look.is_strong else None, fmt=look.marker,
            label=label, color=look.color, markersize=4 if look.is_strong else 3.2, elinewidth=1.2, markeredgewidth=0,
            zorder=3 if look.is_strong else 2,
        )  # fmt: skip
    scale(ax, "x", is_log=is_log)
    if not is_log:
        ax.set_xlim(left=0)
    ax.set_yticks(rows, names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlabel(section.error_name)
    return figure


@styled
def draw_sweep(sweep: Sweep) -> Figure:
    """The errors at the end against a setting's values: numbers on their scale, anything else side by side."""
    is_numeric, values, lines, styles = sweep.is_numeric, sweep.values, dict[str, pd.DataFrame](), dict[str, Look]()
    num_lines = Counter[str]()
    for line, points in sweep.lines.items():
        places = {value if is_numeric else values.index(value): value for value in values if value in points}
        of_line = {place: points[value][0].measures[END][points[value][1]] for place, value in places.items()}
        frame, method = pd.DataFrame(of_line).T.dropna(axis=1), method_of(line)
        if not frame.empty:
            # A method's lines have its colour, and each its own dashes.
            dash = DASHES[num_lines[method] % len(DASHES)]
            num_lines[method] += 1
            name = method + "".join(f", {value}" for value in re.findall(r"=([^,)]+)", line))
            lines[name], styles[name] = frame, looks([method])[method]._replace(dash=dash)
    figure, (ax,) = panels([190], ["1000"], list(lines))
    draw_lines(ax, lines, styles, whole_bands=True)
    if is_numeric and 0 < LOG_VALUES_FROM * values[0] < values[-1]:
        scale(ax, "x", is_log=True)
    ax.set_xticks(values if is_numeric else range(len(values)), [*map(show_value, values)])
    ax.margins(x=0.08)
    ax.set_xlabel(sweep.setting)
    return figure
