"""Pictures of a section, each with what it shows in words, in the same colours on a page of any theme."""

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import cycle, product
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from experiments.methods import METHODS
from experiments.report.intervals import Effect, band, needs_log
from experiments.report.sections import RUN, Section
from experiments.report.tables import MAX_GROUPS, NOTES, note_of

WIDTH = 374  # points, and about pixels: a picture is a third of a desk's page wide, and all of a telephone's
RATIOS = (0.125, 0.25, 0.5, 0.8, 1, 1.25, 2, 4, 8)  # ticks
MOST_PLACES = 120  # of a line
MOVERS = ("#3b82c4", "#c9680f", "#2f9e6e", "#c25a9a", "#8a63d2", "#a08414", "#3f9fb8", "#d0524a")  # groups by colour
INK, GREY, GRID, LEARNED, EVEN, FADED = "#1c2126", "#868e97", "#dfe3e8", "#0b63c5", "#b95000", "#7c3fb8"
TONE_COLORS = {"better": "#0b7a45", "worse": "#c0291b", "same": "#6b737c"}
# On the page these are variables, so that they follow its theme.
VARIABLES = {INK: "ink", GREY: "grey", GRID: "grid", LEARNED: "learned", EVEN: "even", FADED: "faded"}
VARIABLES |= {color: tone for tone, color in TONE_COLORS.items()}
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GRID, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": GRID, "grid.linewidth": 0.8, "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 10.5, "xtick.labelsize": 9.5, "ytick.labelsize": 9.5,
    "xtick.major.size": 0, "ytick.major.size": 0, "axes.titlelocation": "left", "axes.titleweight": "bold",
    "axes.xmargin": 0.02, "legend.frameon": False, "legend.fontsize": 9.5, "legend.handlelength": 2.8,
    "legend.labelcolor": "linecolor", "lines.markeredgewidth": 0, "svg.fonttype": "none", "svg.hashsalt": "learn2mix",
}  # fmt: skip
styled = matplotlib.rc_context(STYLE)  # for functions that draw
Look = dict[str, Any]  # how a method is drawn, in matplotlib's words
wrapped = partial(textwrap.fill, width=22)  # for names beside a picture
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
# Those that matter most have colours and bands, and stand above the others; no two look alike, even without colours.
STRONG: dict[str, Look] = {
    name: {"color": color, "linestyle": dash, "marker": marker, "linewidth": 2, "markersize": 4.5, "zorder": 3}
    for name, color, dash, marker in (
        ("learn2mix", LEARNED, "-", "o"),
        ("learn2mix-passes", FADED, (0, (6, 1.5)), "D"),
        ("classical", INK, (0, (3, 1.5)), "s"),
        ("balanced", EVEN, (0, (5, 1.5, 1, 1.5)), "^"),
    )
}


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
    error = section.error_name
    figures = {"curves": (f"{error}, by epoch", draw_curves(section, section.compared))}
    if 1 < len(section.group_names) <= MAX_GROUPS:
        figures["groups"] = (f"{error}, of each group at the end", draw_groups(section))
    moving = [label for label in section.compared if (section.values["mix"].loc[label].nunique() > 1).any()]
    if moving:
        moving = [label for label in moving if label in STRONG] or moving[:1]
        figures["proportions"] = ("What batches are made of", draw_mix(section, moving))
    if strong := [label for label in section.compared if label in STRONG]:
        figures["train-test"] = ("Training against test", draw_curves(section, strong, in_training=True))
    return [Picture(name, title, note_of(name, section), to_svg(figure)) for name, (title, figure) in figures.items()]


def picture_of_effects(title: str, effects: Mapping[str, Effect]) -> Picture:
    """The picture of some effects of one measure."""
    name = "ratios" if all(effect.is_ratio for effect in effects.values()) else "differences"
    return Picture(name, title, NOTES["effects"], to_svg(draw_effects(effects)))


@styled
def draw_curves(section: Section, labels: Sequence[str], *, in_training: bool = False) -> Figure:
    """A line a method: its error by epoch on the test part, and a dotted one in training."""
    values, styles = {label: section.curve(label).dropna() for label in labels}, looks(labels)
    for label in labels if in_training else ():
        trained = section.curve(label, "weighed").dropna()
        styles[label] |= {"linestyle": "-", "marker": ""}
        if not trained.empty:
            values[f"_{label}"], styles[f"_{label}"] = trained, styles[label] | {"linestyle": ":", "zorder": 2}
    figure, (ax,) = panels(1, 266)
    draw_lines(ax, values, styles)
    ax.set_xlabel("epoch")
    return figure


@styled
def draw_effects(effects: Mapping[str, Effect]) -> Figure:
    """A row an effect: its mean and its interval beside an upright line, no effect, and what it shows as its colour."""
    names = [textwrap.fill(name, 34) for name in effects]
    height = 4 + 12 * max(len(name.splitlines()) for name in names)
    figure, (ax,) = panels(1, max(110, 40 + height * len(names)))
    rows, colors = np.arange(len(names)), [TONE_COLORS[effect.tone] for effect in effects.values()]
    mean, low, high, (is_ratio, *_) = np.array([*effects.values()], dtype=float).T
    ax.axvline(is_ratio, color=GREY, zorder=1)
    ax.hlines(rows, low, high, colors)
    ax.scatter(mean, rows, 26, colors)
    # The means decide what is seen: the interval of a few seeds may be anything.
    if is_ratio:
        ax.set_xscale("log")
        ax.set_xticks(RATIOS, [f"{ratio:g}" for ratio in RATIOS])
        ax.minorticks_off()
        ax.set_xlim(min(0.8, *mean) / 1.1, max(1.15, *mean) * 1.1)
    else:
        ax.set_xlim(min(-1, *mean) - 1, max(1, *mean) + 1)
    ax.set_yticks(rows, names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    return figure


@styled
def draw_mix(section: Section, labels: Sequence[str]) -> Figure:
    """The proportions before training and after each epoch, mean over the seeds, one panel a method."""
    paths = {label: section.values["mix"].loc[label].groupby(level="epoch").mean() for label in labels}
    for path in paths.values():
        path.iloc[-1] = path.iloc[-2]  # the last epoch leaves a mix for the next, which never comes
    moved = sum(path.max() - path.min() for path in paths.values())
    named = moved.sort_values(ascending=False, kind="stable").index[: len(MOVERS)].sort_values()
    figure, axes = panels(len(labels), 190)
    for ax, (label, path) in zip(axes, paths.items(), strict=True):
        path = thinned(path)
        ax.plot(path.index, path.drop(columns=named), color=GREY, linewidth=0.6, drawstyle="steps-post")
        for group, color in zip(named, MOVERS, strict=False):
            name = wrapped(section.group_names[group])
            ax.plot(path.index, path[group], color=color, linewidth=1.6, drawstyle="steps-post", label=name)
        ax.set_title(label, color=STRONG[label]["color"] if label in STRONG else INK)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        name_lines(ax)
    axes[-1].set_xlabel("epoch")
    return figure


@styled
def draw_groups(section: Section) -> Figure:
    """Each group's error at the end, from most training samples, in brackets, at the top to fewest."""
    errors = section.values["test"].groupby(level=RUN).tail(1).droplevel("epoch")
    styles, rows = looks(section.compared), np.arange(0.0, len(section.group_names))
    strong = [label for label in styles if label in STRONG]
    figure, (ax,) = panels(1, 70 + 21 * len(rows))
    for label, look in styles.items():
        (mean, low, high), places = band(errors.loc[label].T.iloc[section.by_size]), rows
        if label in strong:  # they stand apart within a row
            places = rows + (strong.index(label) + 0.5) / len(strong) * 0.56 - 0.28
            ax.hlines(places, low, high, look["color"], linewidth=1.2)
        dots = look | {"linestyle": "", "markersize": 4}
        ax.plot(mean, places, label=wrapped(label) if label in strong else None, **dots)
    names = [f"{section.group_names[group]} ({section.train_counts[group]:,})" for group in section.by_size]
    ax.set_yticks(rows, map(wrapped, names))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.set_xlabel(section.error_name)
    if strong:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def panels(num_panels: int, height: float) -> tuple[Figure, list[Axes]]:
    """Panels one above the other, each of a height in points with all that belongs to it."""
    figure = Figure(figsize=(WIDTH / 72, num_panels * height / 72), layout="constrained")
    return figure, list(figure.subplots(num_panels, squeeze=False).flat)


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """As many rows as a line has points."""
    return frame.iloc[np.unique(np.linspace(0, len(frame) - 1, min(len(frame), MOST_PLACES)).round().astype(int))]


def draw_lines(ax: Axes, values: dict[str, pd.DataFrame], styles: dict[str, Look], whole_bands: bool = False) -> None:
    """The means of values, a row a place and a column a seed; those that matter most above the others, with bands."""
    values = {label: thinned(frame) for label, frame in values.items()}
    is_log = needs_log(values.values())
    if is_log:
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=9))
        ax.yaxis.set_major_formatter("{x:.6g}")
        ax.minorticks_off()
    bands = {label: band(frame, is_log=is_log) for label, frame in values.items()}
    for number, label in enumerate(sorted(bands, key=lambda one: styles[one]["zorder"])):
        places, (mean, *_) = values[label].index, bands[label]
        every = max(1, len(places) // 6)
        ax.plot(places, mean, label=wrapped(label), markevery=(number % every, every), **styles[label])
    seen = ax.get_ylim()
    for label, (_, low, high) in bands.items():
        if styles[label]["zorder"] > 2:
            ax.fill_between(values[label].index, low, high, color=styles[label]["color"], alpha=0.16, linewidth=0)
    if not whole_bands:
        ax.set_ylim(seen)  # the means decide what is seen: the interval of a few seeds may be anything
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    name_lines(ax)


def name_lines(ax: Axes) -> None:
    """Names beside the axes, in the order in which the lines end."""
    lines = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    lines.sort(key=lambda line: np.asarray(line.get_ydata())[-1], reverse=True)
    legend = ax.legend(handles=lines, loc="center left", bbox_to_anchor=(1, 0.5))
    for line, text in zip(lines, legend.get_texts(), strict=True):
        text.set_fontweight("bold" if line.get_zorder() > 2 else "normal")


def looks(labels: Iterable[str]) -> dict[str, Look]:
    """The look of each method: that of its name, in every picture; variants take what is left."""
    others = [name for name in dict.fromkeys([*METHODS, *labels]) if name not in STRONG]
    grey = {
        name: {"color": GREY, "linestyle": dash, "marker": marker, "linewidth": 0.9, "markersize": 3.5, "zorder": 2}
        for name, (dash, marker) in zip(others, cycle(product(DASHES, "v<>PX*h")), strict=False)
    }
    return {label: {**(STRONG.get(label) or grey[label])} for label in labels}


@styled
def to_svg(figure: Figure) -> str:
    """The picture as a file of its own."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()
