"""Pictures of a section, each with what it shows in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.report.drawing import (
    DASHES,
    GREY,
    INK,
    LEARNED,
    STRONG,
    Band,
    Look,
    cut,
    label_ends,
    looks,
    needs_log,
    panels,
    scale,
    styled,
)
from experiments.report.sections import BASELINE, QUARTERS, Section
from experiments.report.tables import group_note, mixing_rates

MOST_PLACES = 120  # points of a line
MOST_NAMED = 20  # groups with names beside an axis
MOST_LABELLED = 8  # groups told apart by colour
MOVERS = ("#3b82c4", "#c9680f", "#2f9e6e", "#c25a9a", "#8a63d2", "#a08414", "#3f9fb8", "#d0524a")


class Picture(NamedTuple):
    """A figure, the end of its file's name, a title, and what it shows."""

    name: str
    title: str
    caption: str
    figure: Figure


def draw_section(section: Section) -> list[Picture]:
    """All pictures that a section has the numbers for."""
    if not section.trained:
        return []
    error, note = section.error_name, group_note(section)
    error = error[0].upper() + error[1:]
    bands = "Bands are 95 % t-intervals over the seeds; on a log axis, those of the logarithm."
    strong = [label for label in section.compared if label in STRONG]
    moving = [label for label in section.compared if (section.mix.loc[label].nunique() > 1).any()]
    moving = [label for label in moving if label in STRONG] or moving[:1]
    rates = mixing_rates(section)
    pictures = [Picture("curves", f"{error}, by epoch", bands, draw_curves(section, "epoch"))]
    if section.has_fair_seconds:
        caption = "As far as all methods go."
        pictures.append(Picture("seconds", f"{error}, by seconds", caption, draw_curves(section, "seconds")))
    if len(section.group_names) > 1:
        caption = f"Means over the seeds, bars are 95 % t-intervals; grey: the other methods.{note}"
        pictures.append(Picture("groups", f"{error}, of each group at the end", caption, draw_groups(section)))
    if moving:
        caption = f"Share of each group in a batch, mean over the seeds.{note}"
        pictures.append(Picture("proportions", "What batches are made of", caption, draw_mix(section, moving)))
    if rates:
        caption = f"Bars are 95 % t-intervals over the seeds; {BASELINE}: at the end."
        pictures.append(Picture("mixing-rates", f"{error}, by mixing rate", caption, draw_rates(section, rates)))
    if strong:
        caption = "On the test part, and in training on the samples as drawn."
        pictures.append(Picture("train-test", "Training against test", caption, draw_train_test(section, strong)))
    return pictures


def over_epochs(section: Section, label: str, name: str = "error") -> pd.DataFrame:
    """A value after each epoch that all seeds reached, a row an epoch and a column a seed."""
    return section.curves[name][label].unstack("seed").dropna()


def over_seconds(section: Section, label: str, num_places: int = MOST_PLACES) -> pd.DataFrame:
    """The test error against seconds of training, from the end of the first epoch of all seeds.

    It ends where the first seed of any method does. Between two epochs a seed's error is interpolated linearly.
    """
    runs = {seed: run for seed, run in section.curves.loc[label].groupby(level="seed")}
    start = max(run["seconds"].iloc[0] for run in runs.values())
    end = min(section.curves["seconds"][one].groupby(level="seed").max().min() for one in section.compared)
    # Seeds or methods of very different speed leave a single place.
    places = np.linspace(start, end, num_places) if end > start else np.array([start])
    return pd.DataFrame({seed: np.interp(places, run["seconds"], run["error"]) for seed, run in runs.items()}, places)


@styled
def draw_curves(section: Section, by: str) -> Figure:
    """A line a method, with its band if it is one of those that matter most, and its name at its end."""
    along = over_epochs if by == "epoch" else over_seconds
    values = {label: along(section, label) for label in section.compared}
    figure, (ax,) = panels([210], ["1000"], list(values))
    _draw_lines(ax, values, looks(section.compared))
    ax.set(xlabel="epoch" if by == "epoch" else "seconds of training")
    return figure


@styled
def draw_train_test(section: Section, labels: Sequence[str]) -> Figure:
    """A panel a method: its error in training and on the test part."""
    figure, axes = panels([88] * len(labels), ["1000"], ["training"])
    names = {"test": "error", "training": "train_error"}
    for ax, label in zip(axes, labels, strict=True):
        look = STRONG[label]
        styles = {"test": look._replace(dash="-", marker=""), "training": look._replace(dash=DASHES[2], marker="")}
        _draw_lines(ax, {name: over_epochs(section, label, column) for name, column in names.items()}, styles)
        ax.set_title(label, color=look.color)
    axes[-1].set_xlabel("epoch")
    return figure


@styled
def draw_mix(section: Section, labels: Sequence[str]) -> Figure:
    """The proportions before training and after each epoch, mean over the seeds, one panel a method."""
    paths = {label: section.mix.loc[label].groupby(level="epoch").mean() for label in labels}
    for path in paths.values():
        path.iloc[-1] = path.iloc[-2]  # the last epoch leaves a mix for the next, which never comes
    moved = sum(
        (path.max() - path.min() for path in paths.values()), start=pd.Series(0.0, range(len(section.group_names)))
    )
    named = moved.sort_values(ascending=False, kind="stable").index[:MOST_LABELLED].sort_values()
    names = [section.group_names[group] for group in named]
    styles = {cut(name): Look(color, "-", "", False) for name, color in zip(names, MOVERS, strict=False)}
    figure, axes = panels([130 if len(labels) > 1 else 190] * len(labels), ["0.000"], names)
    for ax, (label, path) in zip(axes, paths.items(), strict=True):
        path = _thinned(path)
        ax.plot(path.index, path.drop(columns=named), color=GREY, linewidth=0.6, drawstyle="steps-post")
        for group, look in zip(named, styles.values(), strict=True):
            ax.plot(path.index, path[group], color=look.color, linewidth=1.6, drawstyle="steps-post")
        ax.set_title(label, color=STRONG[label].color if label in STRONG else INK)
        scale(ax, "y", is_log=False)
        scale(ax, "x", is_log=False, is_whole=True)
        ax.margins(x=0)
        label_ends(
            ax,
            {name: (path.index[-1], path[group].iloc[-1]) for name, group in zip(styles, named, strict=True)},
            styles,
        )
    axes[-1].set_xlabel("epoch")
    return figure


@styled
def draw_groups(section: Section) -> Figure:
    """Each group's error at the end, from most training samples at the top to fewest; many groups by their rank."""
    values = {label: section.group_errors.loc[label].T.iloc[section.by_size] for label in section.compared}
    names, styles = [cut(section.group_names[group]) for group in section.by_size], looks(section.compared)
    strong = [label for label in values if styles[label].is_strong]
    if len(names) > MOST_NAMED:
        lines = {label: values[label].set_axis(range(1, len(names) + 1)) for label in strong or values}
        figure, (ax,) = panels([210], ["1000"], list(lines))
        _draw_lines(ax, lines, styles)
        ax.set(xlabel="group, from most to fewest training samples")
        return figure
    is_log = needs_log([of_label.dropna().to_numpy() for of_label in values.values()])
    figure, (ax,) = panels([max(90, 21 * len(names))], names, ["    "])
    rows = np.arange(len(names))
    for label, look in styles.items():
        _, mean, low, high = Band.of(values[label], is_log=is_log)
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
def draw_rates(section: Section, by_method: Mapping[str, Mapping[float, str]]) -> Figure:
    """Errors by mixing rate, a panel a method, a line for each part of the training, and the baseline at the end."""
    errors = {f"at {name}": section.error_at(share) for name, share in QUARTERS.items()}
    styles = {at: Look(LEARNED, dash, marker, False) for at, dash, marker in zip(errors, DASHES, "o^s", strict=False)}
    styles[BASELINE] = Look(GREY, "-", "", False)
    figure, axes = panels([170] * len(by_method), ["1000"], list(styles))
    for ax, (method, rates) in zip(axes, by_method.items(), strict=True):
        lines = {
            at: pd.DataFrame([of_end[label].rename(rate) for rate, label in rates.items()]).dropna(axis=1)
            for at, of_end in errors.items()
        }
        if BASELINE in section.trained:
            at_end = errors["at the end"][BASELINE]
            lines[BASELINE] = pd.DataFrame([at_end] * len(rates))
        _draw_lines(ax, {at: line.set_axis(range(len(rates))) for at, line in lines.items()}, styles, has_bars=True)
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set(xlabel="mixing rate")
        ax.set_title(method)
    return figure


def _draw_lines(
    ax: Axes, values: Mapping[str, pd.DataFrame], styles: Mapping[str, Look], *, has_bars: bool = False
) -> None:
    """The means of values, a row a place and a column a seed, the strong ones above the others and with bands."""
    is_log = needs_log([frame.to_numpy() for frame in values.values()])
    bands = {label: Band.of(_thinned(frame), is_log=is_log) for label, frame in values.items()}
    for number, label in enumerate(sorted(bands, key=lambda one: styles[one].is_strong)):
        look, (places, mean, low, high) = styles[label], bands[label]
        every = max(1, len(places) // 6)
        ax.plot(
            places, mean, color=look.color, linestyle=look.dash, linewidth=2 if look.is_strong else 0.9, label=label,
            marker=look.marker, markersize=4.5 if look.is_strong else 3.5, markeredgewidth=0,
            markevery=(number % every, every),
        )  # fmt: skip
        if has_bars:
            ax.errorbar(places, mean, (mean - low, high - mean), fmt="none", color=look.color, elinewidth=1.2)
        elif look.is_strong:
            ax.fill_between(places, low, high, color=look.color, alpha=0.16, linewidth=0)
    # The means decide what is seen: the interval of a few seeds may be anything.
    means = np.concatenate([band.mean for band in bands.values()])
    low, high = np.nanmin(means), np.nanmax(means)
    room = ((high / low) ** 0.08 if high > low else 1.5) if is_log else 0.08 * (high - low) or 0.5
    ax.set_ylim(*((low / room, high * room) if is_log else (low - room, high + room)))
    scale(ax, "y", is_log=is_log)
    scale(ax, "x", is_log=False, is_whole=True)
    ax.margins(x=0.02)
    label_ends(ax, {label: (band.places[-1], band.mean[-1]) for label, band in bands.items()}, styles)


def _thinned(frame: pd.DataFrame) -> pd.DataFrame:
    """As many rows as a line has points."""
    return frame.iloc[np.unique(np.linspace(0, len(frame) - 1, min(len(frame), MOST_PLACES)).round().astype(int))]
