"""Charts of steps as SVG in HTML: the drawing stretches with the page, the words keep their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from learn2mix.run_page.facts import Array
from learn2mix.run_page.words import number

# After Okabe and Ito: told apart by colour-blind readers too; from the fifth on the lines are dashed as well.
LIGHT = ("#0072b2", "#d55e00", "#008f68", "#b8528f", "#3a9bd9", "#c98a00", "#1d2228", "#7a4a1d")
DARK = ("#4aa8e0", "#f0803c", "#2fbf94", "#dd8fbf", "#86ccf5", "#e9b949", "#e6e9ed", "#c79a6b")
NUM_SOLID = 4
WIDTH = 1000  # units of a drawing; it is stretched to the width that the page has
LABEL_HEIGHT = 19  # pixels
MOST_GREY = 24  # lines; more become a band


@dataclass(frozen=True)
class Line:
    """One group's values, by span: drawn in its colour, with its name at the end."""

    name: str
    values: Array  # (T,)
    style: str  # class of the colour


@dataclass(frozen=True)
class Scale:
    """From batches and values to units of a drawing; y is in pixels and grows downwards."""

    edges: Array  # of the spans
    low: float  # value at the bottom
    high: float
    height: int
    width: int = WIDTH
    whole: float = 0  # batches that the width stands for; 0: up to the last edge

    @property
    def lefts(self) -> list[int]:
        """Where spans begin and end, 0 to the width."""
        return np.rint(self.edges / (self.whole or self.edges[-1]) * self.width).astype(int).tolist()  # type: ignore[no-any-return]

    def y(self, value: Array | float) -> Array:
        """Place of a value, the height to 0."""
        place: Array = (1 - (np.asarray(value) - self.low) / (self.high - self.low)) * self.height
        return place


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers at even distances, from ``low`` to ``high`` at most.

    Example:
        >>> nice_ticks(0, 0.52), nice_ticks(0, 1234), nice_ticks(-1, 3, most=2)
        ([0.0, 0.2, 0.4], [0.0, 500.0, 1000.0], [0.0, 2.0])
    """
    power = 10.0 ** np.floor(np.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        ticks = np.arange(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(ticks) <= most:
            break
    return [float(f"{tick * step:.12g}") for tick in ticks]


def step_path(scale: Scale, values: Array) -> str:
    """Return an SVG path that holds each value over its span and then jumps; where a value is not known is a gap.

    Example:
        >>> step_path(Scale(np.array([0, 1, 2, 4]), 0.0, 1.0, 100), np.array([0.5, 1.0, np.nan]))
        'M0 50H250V0H500'
    """
    known = np.isfinite(values)
    heights = np.where(known, scale.y(np.where(known, values, scale.low)), -1).round(1)
    path: list[str] = []
    previous = None
    for left, right, height, draws in zip(scale.lefts[:-1], scale.lefts[1:], heights, known, strict=True):
        if not draws:
            previous = None
            continue
        if previous is None:
            path.append(f"M{left} {height:g}")
        elif height != previous:
            path.append(f"V{height:g}")
        else:
            path.pop()  # the stroke goes on
        path.append(f"H{right}")
        previous = height
    return "".join(path)


def band_path(scale: Scale, low: Array, high: Array) -> str:
    """Return an SVG path of one rectangle a span, from the lowest to the highest of many groups."""
    boxes = zip(scale.lefts[:-1], scale.lefts[1:], scale.y(low), scale.y(high), strict=True)
    return "".join(
        f"M{left} {top:.1f}H{right}V{max(bottom, top + 1):.1f}H{left}Z"
        for left, right, bottom, top in boxes
        if np.isfinite(top - bottom)
    )


def spread(places: Sequence[float], distance: float, height: float) -> list[float]:
    """Move places as little as their order allows so that neighbours are a distance apart, within 0 to the height.

    Neighbours that come too near become a block around the mean of their places, as in isotonic regression.

    Example:
        >>> spread([50, 52, 90], distance=10, height=100)
        [46.0, 56.0, 90.0]
    """
    order = np.argsort(places, kind="stable")
    blocks: list[tuple[float, int]] = []  # (first place, how many)
    for place in np.asarray(places, dtype=float)[order]:
        first, count = min(max(0.0, float(place)), height), 1
        while blocks and blocks[-1][0] + blocks[-1][1] * distance > first:
            first_below, count_below = blocks.pop()
            total = count_below * first_below + count * (first - count_below * distance)
            count += count_below
            first = min(max(0.0, total / count), height - (count - 1) * distance)
        blocks.append((first, count))
    moved = np.empty(len(order))
    moved[order] = [first + place * distance for first, count in blocks for place in range(count)]
    return moved.tolist()  # type: ignore[no-any-return]


def scale_of(
    edges: Array, lines: Sequence[Line], others: Array | None, height: int, width: int = WIDTH, whole: float = 0
) -> Scale:
    """Return the scale on which all values have a place, with 0 on it."""
    every = np.concatenate([line.values for line in lines] + ([] if others is None else [others.ravel()]))
    finite = every[np.isfinite(every)]
    low, high = (min(0.0, finite.min()), max(0.0, finite.max())) if finite.size else (0.0, 1.0)
    margin = 0.04 * (high - low) or 1.0
    return Scale(edges, low - margin if low < 0 else low, high + margin, height, width, whole or edges[-1])


class Charts:
    """Draws the charts of a page, which all span the run, and keeps the values that its script shows at the cursor."""

    def __init__(self, whole: float) -> None:
        self._whole = whole  # batches that the width stands for
        self.values: dict[str, dict[str, list[Any]]] = {}  # by chart: the edges of its spans, and its lines

    def draw(
        self,
        key: str,
        title: str,
        edges: Array,
        lines: Sequence[Line],
        *,
        height: int = 280,
        others: Array | None = None,
        ends: bool = True,
    ) -> str:
        """Return a chart of steps.

        Args:
            key: under which the page's script finds its values.
            title: what the values are, as a screen reader says it.
            edges: of the spans, shape ``(T + 1,)``.
            lines: drawn strongly.
            height: in pixels.
            others: values of more groups, shape ``(T, number)``: thin and grey, or many as one band.
            ends: whether the names stand at the lines' ends.
        """
        self.values[key] = {"edges": edges.tolist(), "lines": [_short(line.values) for line in lines]}
        scale = scale_of(edges, lines, others, height, whole=self._whole)
        ticks = nice_ticks(scale.low, scale.high, 5 if height > 100 else 3)
        drawn = [f'<path class="grid" d="{"".join(f"M0 {scale.y(tick):.1f}H{WIDTH}" for tick in ticks)}"/>']
        if others is not None and others.shape[1]:
            drawn.append(draw_others(scale, others))
        drawn += [f'<path class="line {line.style}" d="{step_path(scale, line.values)}"/>' for line in lines]
        y_labels = "".join(f'<span style="top:{scale.y(tick):.1f}px">{tick:,g}</span>' for tick in ticks)
        x_labels = "".join(
            f'<span style="left:{tick / self._whole:.2%}">{tick:,g}</span>'
            for tick in nice_ticks(0, self._whole, 4)
            if tick.is_integer()
        )
        label_width = max(len(line.name) for line in lines) + 9  # letters, with the value
        return (
            f'<div class="chart{" ended" if ends else ""}" style="--height:{height}px;--ends:{label_width}ch">'
            f'<div class="y" aria-hidden="true">{y_labels}</div>'
            f'<div class="plot" data-chart="{key}" tabindex="0" role="slider" aria-label="{escape(title)}" '
            f'aria-valuemin="0" aria-valuemax="{len(edges) - 2}" aria-valuenow="{len(edges) - 2}">'
            f'<svg viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" aria-hidden="true">{"".join(drawn)}</svg>'
            f'<i class="cursor" hidden></i><i class="place" hidden></i></div>{_ends(scale, lines) if ends else ""}'
            f'<div class="x" aria-hidden="true">{x_labels}</div></div>'
        )


def _short(values: Array) -> list[float | None]:
    """Return numbers as JSON holds them: short, and NaN as None."""
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in values.tolist()]


def draw_others(scale: Scale, others: Array) -> str:
    """Thin grey lines, or one band where they are too many to follow."""
    if others.shape[1] <= MOST_GREY:
        return "".join(f'<path class="line other" d="{step_path(scale, values)}"/>' for values in others.T)
    quarters = quartiles(others)
    whole, half = band_path(scale, quarters[0], quarters[4]), band_path(scale, quarters[1], quarters[3])
    return f'<path class="band" d="{whole}"/><path class="band" d="{half}"/>'


def quartiles(values: Array) -> Array:
    """Least, first quarter, middle, third quarter and greatest of the finite values in each row; NaN where none is.

    Of shape ``(T, number)`` they become shape ``(5, T)``: values that occur, the lower of two.

    Example:
        >>> quartiles(np.array([[3.0, 1.0, np.nan, 2.0], [np.nan] * 4]))[:, 0]
        array([1., 1., 2., 2., 3.])
    """
    ordered = np.sort(np.where(np.isfinite(values), values, np.nan), axis=1)  # NaN comes last
    num_known = np.isfinite(ordered).sum(axis=1)
    places = (np.arange(5)[:, None] * np.maximum(num_known - 1, 0) // 4).astype(int)
    picked: Array = ordered[np.arange(len(values)), places]
    return picked


def line_ends(scale: Scale, lines: Sequence[Line]) -> list[tuple[Line, float, float, float]]:
    """Return each line, its last known value (NaN if there is none), its height, and where its name has room."""
    known = [line.values[np.isfinite(line.values)] for line in lines]
    lasts = [float(values[-1]) if values.size else math.nan for values in known]
    heights = [float(scale.height if math.isnan(last) else scale.y(last)) for last in lasts]
    return list(zip(lines, lasts, heights, spread(heights, LABEL_HEIGHT, scale.height), strict=True))


def _ends(scale: Scale, lines: Sequence[Line]) -> str:
    """Names and last values beside the lines' ends, moved apart, each with a stroke to its line."""
    strokes, labels = [], []
    for line, last, height, place in line_ends(scale, lines):
        strokes.append(f'<path class="line {line.style}" d="M0 {height:.1f}L14 {place:.1f}"/>')
        labels.append(
            f'<li style="top:{place:.1f}px"><span title="{escape(line.name)}">{escape(line.name)}</span> '
            f"<output>{number(last)}</output></li>"
        )
    return (
        f'<svg class="leaders" width="14" height="{scale.height}" aria-hidden="true">{"".join(strokes)}</svg>'
        f'<ol class="ends">{"".join(labels)}</ol>'
    )
