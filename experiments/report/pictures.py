"""Pictures of a section, each with what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.methods import METHODS
from experiments.report.intervals import half_widths
from experiments.report.results import BASELINE, QUARTERS, Results, Section
from experiments.report.tables import mixing_rates
from learn2mix.plotting import plot_proportions

# Okabe and Ito's colours, which colour-blind readers can tell apart; line and marker say the same once more.
# Black is the baseline's.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v")
# A linear axis would squeeze errors that differ by more than this factor.
LOG_FROM = 20
# More names than this do not fit under an axis.
MAX_NAMED = 20
# Bars of more methods than this, and bands at full strength, hide each other.
MAX_BARS = 6
# Large letters in a small picture: it is still read on a telephone 390 pixels wide.
SIZE = (6.0, 4.2)
STYLE = {"font.size": 11, "legend.fontsize": 9.5, "axes.grid": True, "grid.alpha": 0.3, "axes.axisbelow": True}


class Picture(NamedTuple):
    """A figure, the end of its file's name, and what it shows."""

    name: str
    caption: str
    figure: Figure


class Band(NamedTuple):
    """A mean over seeds and half its 95 % t-interval, at some places along the training."""

    places: np.ndarray
    means: np.ndarray
    spread: np.ndarray


def draw_section(section: Section) -> list[Picture]:
    """All pictures that a section has the numbers for."""
    if not section.trained:
        return []
    with matplotlib.rc_context(STYLE):
        pictures = [
            Picture("curves", "Test error after each epoch; bands are 95 % t-intervals over seeds.",
                    draw_curves(section, [over_epochs(one) for one in section.compared], "epoch")),
            Picture("seconds", "The same against seconds of training.",
                    draw_curves(section, [over_seconds(one) for one in section.compared], "seconds of training")),
        ]  # fmt: skip
        if any(np.isfinite(curve.train_errors).any() for one in section.compared for curve in one.curves):
            caption = f"Error in training, on samples as drawn, against test error; grey: {BASELINE}'s test error."
            pictures.append(Picture("train-test", caption, draw_train_test(section)))
        moving = [results for results in section.compared if results.mix_moves]
        if moving:
            caption = f"What the batches are made of, mean over seeds.{section.group_note}"
            pictures.append(Picture("proportions", caption, draw_mix_paths(section, moving)))
        if len(section.group_names) > 1:
            caption = (
                "Test error of each group at the end, mean over seeds; bars, where drawn, are 95 % t-intervals."
                f"{section.group_note}"
            )
            pictures.append(Picture("groups", caption, draw_groups(section)))
        rates = mixing_rates(section)
        if rates:
            caption = "Test error by mixing rate; bars and the grey band are 95 % t-intervals over seeds."
            pictures.append(Picture("mixing-rates", caption, draw_rates(section, rates)))
    return pictures


def over_epochs(results: Results) -> Band:
    """The test error after each epoch that all seeds reached."""
    errors = _common([curve.errors for curve in results.curves])
    return Band(np.arange(1, errors.shape[1] + 1), errors.mean(axis=0), half_widths(errors))


def over_seconds(results: Results, num_places: int = 200) -> Band:
    """The test error against seconds of training, between the first epoch's end and the last's of all seeds.

    Between two epochs a seed's error is interpolated linearly.
    """
    start = max(curve.seconds[0] for curve in results.curves)
    end = min(curve.seconds[-1] for curve in results.curves)
    # One epoch, or seeds of very different speed, leave a single place.
    places = np.linspace(start, end, num_places) if end > start else np.array([start])
    errors = np.stack([np.interp(places, curve.seconds, curve.errors) for curve in results.curves])
    return Band(places, errors.mean(axis=0), half_widths(errors))


def draw_curves(section: Section, bands: Sequence[Band], xlabel: str) -> Figure:
    """A line a method with its band."""
    figure = Figure(figsize=_with_legend(len(bands)), layout="constrained")
    ax = figure.subplots()
    for results, band in zip(section.compared, bands, strict=True):
        label = f"{results.label} ({len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''})"
        _draw_band(ax, band, *_look(section, results), label, alpha=0.15 if len(bands) <= MAX_BARS else 0.05)
    _scale_errors(ax, np.concatenate([band.means for band in bands]))
    ax.set(xlabel=xlabel, ylabel=section.error_name, title=section.title)
    ax.margins(x=0.01)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_train_test(section: Section) -> Figure:
    """A panel a method: its error in training and on the test part, with the baseline's for comparison."""
    num_columns = min(2, len(section.compared))
    num_rows = math.ceil(len(section.compared) / num_columns)
    figure = Figure(figsize=(SIZE[0], 1.2 + 2.1 * num_rows), layout="constrained")
    panels = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False).ravel()
    all_means = []
    for ax, results in zip(panels, section.compared, strict=False):
        color, _ = _look(section, results)
        if section.baseline is not None and results is not section.baseline:
            epochs, means, _ = over_epochs(section.baseline)
            ax.plot(epochs, means, color="0.6", linewidth=1, label=f"{BASELINE}, test")
        test = over_epochs(results)
        training = _common([curve.train_errors for curve in results.curves])
        train = Band(test.places, training.mean(axis=0), half_widths(training))
        _draw_band(ax, test, color, "-", "test")
        _draw_band(ax, train, color, "--", "training")
        ax.set_title(results.label, fontsize=10)
        all_means += [test.means, train.means]
    for ax in panels[len(section.compared) :]:
        ax.set_visible(False)
    _scale_errors(panels[0], np.concatenate(all_means))
    figure.suptitle(section.title)
    # A label of the whole figure would lie under the legend.
    for ax in panels[-num_columns:]:
        ax.set_xlabel("epoch")
    figure.supylabel(section.error_name.removeprefix("test "), fontsize=11)
    line = {"color": "black", "linewidth": 1.5}
    handles = [matplotlib.lines.Line2D([], [], linestyle=style, **line) for style in ("-", "--")]
    figure.legend(handles, ["test", "training"], loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_mix_paths(section: Section, moving: Sequence[Results]) -> Figure:
    """The proportions before training and after each epoch, mean over the seeds, one panel a method."""
    figure = Figure(figsize=(SIZE[0], 3.4 * len(moving)), layout="constrained")
    panels = figure.subplots(len(moving), squeeze=False)[:, 0]
    for ax, results in zip(panels, moving, strict=True):
        path = _common([curve.proportions for curve in results.curves]).mean(axis=0)
        plot_proportions(path, section.group_names, ax)
        ax.set(xlabel="epoch", title=f"{section.title}, {results.label}")
    return figure


def draw_groups(section: Section) -> Figure:
    """Each group's error at the end, the groups from most to fewest training samples."""
    order = np.argsort(-np.array(section.train_counts), kind="stable")
    figure = Figure(figsize=_with_legend(len(section.compared)), layout="constrained")
    ax = figure.subplots()
    is_named = len(order) <= MAX_NAMED
    has_bars = is_named and len(section.compared) <= MAX_BARS
    for place, results in enumerate(section.compared):
        color, _ = _look(section, results)
        errors = results.final_group_errors[:, order]
        # Side by side within a group; many groups are a line each.
        shift = (place + 0.5) / len(section.compared) * 0.8 - 0.4 if is_named else 0.0
        ax.errorbar(
            np.arange(len(order)) + shift, errors.mean(axis=0), half_widths(errors) if has_bars else None, color=color,
            fmt=MARKERS[place % len(MARKERS)] if is_named else "-", markersize=4, linewidth=1, label=results.label,
        )  # fmt: skip
    if is_named:
        ax.set_xticks(range(len(order)), [section.group_names[group] for group in order])
        if max(len(name) for name in section.group_names) * len(order) > 40:
            ax.tick_params("x", rotation=30)
            for text in ax.get_xticklabels():
                text.set_horizontalalignment("right")
    ax.set(xlabel="group, from most to fewest training samples", ylabel=section.error_name, title=section.title)
    ax.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_rates(section: Section, by_method: dict[str, dict[float, Results]]) -> Figure:
    """Errors by mixing rate, a panel a method, a line for each part of the training."""
    figure = Figure(figsize=(SIZE[0], 0.8 + 3.0 * len(by_method)), layout="constrained")
    panels = figure.subplots(len(by_method), squeeze=False)[:, 0]
    for ax, (method, rates) in zip(panels, by_method.items(), strict=True):
        for place, (name, fraction) in enumerate(QUARTERS.items()):
            values = [results.at(fraction) for results in rates.values()]
            spread = np.array([half_widths(of_rate[:, None])[0] for of_rate in values])
            means = np.array([of_rate.mean() for of_rate in values])
            ax.errorbar(list(rates), means, np.nan_to_num(spread), color=COLORS[place], fmt=f"{MARKERS[place]}-",
                        capsize=3, markersize=5, label=f"at {name}")  # fmt: skip
        if section.baseline is not None:
            errors = section.baseline.at(1.0)
            spread = float(np.nan_to_num(half_widths(errors[:, None])[0]))
            ax.axhspan(errors.mean() - spread, errors.mean() + spread, color="0.6", alpha=0.3, linewidth=0)
            ax.axhline(errors.mean(), color="0.5", linewidth=1, label=f"{BASELINE}, at the end")
        if min(rates) > 0:
            ax.set_xscale("log")
        ax.set_xticks(list(rates), [f"{rate:g}" for rate in rates], minor=False)
        ax.minorticks_off()
        ax.set(xlabel="mixing rate", ylabel=section.error_name, title=f"{section.title}, {method}")
        ax.set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_band(ax: Axes, band: Band, color: str, line: str, label: str, alpha: float = 0.15) -> None:
    # A single place makes no line.
    marker = "o" if len(band.places) == 1 else None
    ax.plot(band.places, band.means, line, color=color, label=label, marker=marker, linewidth=1.5)
    # Errors are not negative, whatever the interval of a few seeds says.
    low = np.maximum(band.means - band.spread, 0)
    ax.fill_between(band.places, low, band.means + band.spread, color=color, alpha=alpha, linewidth=0)


def _scale_errors(ax: Axes, means: np.ndarray) -> None:
    means = means[np.isfinite(means)]
    if means.max() > LOG_FROM * means.min() > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom=means.min() * 0.7)
    else:
        ax.set_ylim(bottom=0)


def _look(section: Section, results: Results) -> tuple[str, str]:
    """Colour and line: by the place among all methods, so that a method looks the same in every picture."""
    if results is section.baseline:
        return "#000000", "-"
    others = [method for method in METHODS if method != BASELINE]
    if results.is_usual and results.method in others:
        place = others.index(results.method)
    else:
        place = len(others) + section.compared.index(results)
    # A line's style changes when the colours are used up.
    return COLORS[place % len(COLORS)], LINES[place // len(COLORS) % len(LINES)]


def _with_legend(num_lines: int) -> tuple[float, float]:
    """A figure's size, with room for a legend in two columns below it."""
    return SIZE[0], SIZE[1] + 0.22 * math.ceil(num_lines / 2)


def _common(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """One array a seed, stacked, as far as all of them go: with a time budget some seeds train more epochs."""
    length = min(len(array) for array in arrays)
    return np.stack([array[:length] for array in arrays])
