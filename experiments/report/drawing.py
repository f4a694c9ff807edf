"""How pictures look: methods and their colours, which follow the page's theme; panels, lines and their names; SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike
from sklearn.isotonic import isotonic_regression

from experiments.methods import METHODS
from experiments.report.intervals import half_widths

# Points, and about pixels: a picture is a third of a desk's page wide, and all of a telephone's.
WIDTH, ROOM_ABOVE, ROOM_BELOW, LINE, LETTER = 374, 22, 34, 12.5, 6.4
MOST_LETTERS, MOST_PLACES = 22, 120  # of a label, of a line
LOG_FROM = 4  # a linear axis would squeeze what differs by more than this factor
INK, GREY, GRID, LEARNED, EVEN, FADED = "#1c2126", "#868e97", "#dfe3e8", "#0b63c5", "#b95000", "#7c3fb8"
# On the page these are variables, so that they follow its theme.
VARIABLES = {INK: "ink", GREY: "grey", GRID: "grid", LEARNED: "learned", EVEN: "even", FADED: "faded"}
STYLE: dict[Any, Any] = {
    "axes.edgecolor": GRID, "axes.labelcolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "grid.color": GRID, "grid.linewidth": 0.8, "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "font.size": 10, "axes.labelsize": 10, "axes.titlesize": 10.5, "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5, "xtick.major.size": 0, "ytick.major.size": 0, "axes.titlelocation": "left",
    "axes.titleweight": "bold", "svg.fonttype": "none", "svg.hashsalt": "learn2mix",
}  # fmt: skip
styled = matplotlib.rc_context(STYLE)  # for functions that draw
Dash = str | tuple[float, tuple[float, ...]]
DASHES: tuple[Dash, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
MARKERS = "v<>PX*h"


class Look(NamedTuple):
    """How a method is drawn: no two of them alike, even without colours."""

    color: str
    dash: Dash
    marker: str
    is_strong: bool


STRONG = {
    "learn2mix": Look(LEARNED, "-", "o", True),
    "learn2mix-passes": Look(FADED, (0, (6, 1.5)), "D", True),
    "classical": Look(INK, (0, (3, 1.5)), "s", True),
    "balanced": Look(EVEN, (0, (5, 1.5, 1, 1.5)), "^", True),
}


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """The look of each method: that of its name, in every picture; variants take what is left."""
    others = [name for name in dict.fromkeys([*METHODS, *labels]) if name not in STRONG]
    grey = {
        name: Look(GREY, DASHES[place // len(MARKERS) % len(DASHES)], MARKERS[place % len(MARKERS)], False)
        for place, name in enumerate(others)
    }
    return {label: STRONG.get(label) or grey[label] for label in labels}


def band(values: pd.DataFrame, *, is_log: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of values, a row a place and a column a seed, and its 95 % t-interval; on a log axis, of logarithms."""
    array = np.log(values.to_numpy()) if is_log else values.to_numpy()
    mean, spread = array.mean(axis=1), half_widths(array.T)
    mean, low, high = (np.exp(line) if is_log else line for line in (mean, mean - spread, mean + spread))
    return mean, low, high


def needs_log(values: Sequence[pd.DataFrame]) -> bool:
    """Whether the means of what is drawn, a row a place and a column a seed, are for a log axis."""
    means = pd.concat([frame.mean(axis=1, skipna=False) for frame in values])
    return all((frame > 0).all(axis=None) for frame in values) and bool(means.max() > LOG_FROM * means.min())


def panels(heights: Sequence[float], names: Sequence[str], labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    """Panels one above the other, with room for names at their left and for labels at the ends of their lines.

    A panel has its height, in points, or that of all labels together.
    """
    left, right = (18 + LETTER * max((len(cut(text)) for text in texts), default=0) for texts in (names, labels))
    heights = [max(height, LINE * len(labels)) for height in heights]
    top = total = sum(heights) + (ROOM_ABOVE + ROOM_BELOW) * len(heights)
    figure, axes = Figure(figsize=(WIDTH / 72, total / 72)), []
    for height in heights:
        top -= ROOM_ABOVE + height
        axes.append(figure.add_axes((left / WIDTH, top / total, 1 - (left + right) / WIDTH, height / total)))
        top -= ROOM_BELOW
    return figure, axes


def draw_lines(
    ax: Axes, values: Mapping[str, pd.DataFrame], styles: Mapping[str, Look], *, whole_bands: bool = False
) -> None:
    """The means of values, a row a place and a column a seed, the strong ones above the others and with bands."""
    values = {label: thinned(frame) for label, frame in values.items()}
    is_log = needs_log(list(values.values()))
    bands = {label: band(frame, is_log=is_log) for label, frame in values.items()}
    for number, label in enumerate(sorted(bands, key=lambda one: styles[one].is_strong)):
        look, places, (mean, low, high) = styles[label], values[label].index, bands[label]
        every = max(1, len(places) // 6)
        ax.plot(
            places, mean, color=look.color, linestyle=look.dash, linewidth=2 if look.is_strong else 0.9, label=label,
            marker=look.marker, markersize=4.5 if look.is_strong else 3.5, markeredgewidth=0,
            markevery=(number % every, every),
        )  # fmt: skip
        if look.is_strong:
            ax.fill_between(places, low, high, color=look.color, alpha=0.16, linewidth=0)
    # The means decide what is seen: the interval of a few seeds may be anything.
    seen = np.concatenate([line for lines in bands.values() for line in (lines if whole_bands else lines[:1])])
    low, high = np.nanmin(seen), np.nanmax(seen)
    room = ((high / low) ** 0.08 if high > low else 1.5) if is_log else 0.08 * (high - low) or 0.5
    ax.set_ylim(*((low / room, high * room) if is_log else (low - room, high + room)))
    scale(ax, "y", is_log=is_log)
    scale(ax, "x", is_whole=True)
    ax.margins(x=0.02)
    label_ends(ax, {label: (values[label].index[-1], mean[-1]) for label, (mean, *_) in bands.items()}, styles)


def scale(ax: Axes, axis: str, *, is_log: bool = False, is_whole: bool = False) -> None:
    """A linear or a log axis, with few plain numbers as ticks."""
    if is_log:
        ax.set(**{f"{axis}scale": "log"})
    one = ax.yaxis if axis == "y" else ax.xaxis
    low, high = one.get_view_interval()
    subs = (1, 2, 5) if is_log and high < 50 * low else (1,)
    one.set_major_locator(LogLocator(subs=subs, numticks=9) if is_log else MaxNLocator(5, integer=is_whole))
    one.set_major_formatter(FuncFormatter(lambda number, _: f"{number:.6g}"))
    one.set_minor_locator(NullLocator())


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, float]], styles: Mapping[str, Look]) -> None:
    """Write labels at the right of the axes, each beside the end of its line as far as they leave each other room."""
    to_axes, box = ax.transData + ax.transAxes.inverted(), ax.get_window_extent()
    width, height = (pixels * 72 / ax.figure.dpi for pixels in (box.width, box.height))
    places = spread([to_axes.transform(end)[1] for end in ends.values()], LINE / height)
    line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 1}
    for (label, end), place in zip(ends.items(), places, strict=True):
        ax.annotate(
            cut(label), end, (1 + 14 / width, place), textcoords="axes fraction", va="center", fontsize=9.5,
            color=styles[label].color, fontweight="bold" if styles[label].is_strong else "normal",
            annotation_clip=False, arrowprops=line,
        )  # fmt: skip


def spread(places: ArrayLike, gap: float) -> np.ndarray:
    """Move places in ``[0, 1]`` apart by at least a gap, and as little as that takes: an isotonic regression.

    Example:
        >>> spread([0.5, 0.9, 0.5], gap=0.2).round(2)
        array([0.4, 0.9, 0.6])
    """
    array = np.asarray(places, dtype=np.float64)
    order, steps = np.argsort(array, kind="stable"), gap * np.arange(len(array))
    apart = np.empty(len(array))
    apart[order] = np.clip(isotonic_regression(array[order] - steps), 0, max(0.0, 1 - steps[-1])) + steps
    return apart


def cut(text: str) -> str:
    """A label's text, not too long to stand beside a picture."""
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """As many rows as a line has points."""
    return frame.iloc[np.unique(np.linspace(0, len(frame) - 1, min(len(frame), MOST_PLACES)).round().astype(int))]


@styled
def to_svg(figure: Figure) -> str:
    """The picture as a file of its own."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def to_inline(svg: str) -> str:
    """The picture as part of a page: without what a file needs, with the page's font and its theme's colours."""
    svg = svg[svg.index("<svg") :]
    for pattern, text in (
        (r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", ""),
        (r'(?<=<g) id="[^"]*"', ""),
        (r'<svg .*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">'),
        (r"font: (?:bold|700) ([\d.]+px)[^;\"]*", r"font-size: \1; font-weight: 700"),
        (r"font: ([\d.]+px)[^;\"]*", r"font-size: \1"),
    ):
        svg = re.sub(pattern, text, svg, flags=re.DOTALL)
    svg = re.sub(r' (d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d)\d+", r"\1", found[0]), svg)
    for color, name in VARIABLES.items():
        svg = svg.replace(color, f"var(--{name})")
    return re.sub(r"\n\s*", "\n", svg)
