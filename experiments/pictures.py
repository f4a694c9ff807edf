"""Pictures of stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.methods import METHODS
from experiments.summary import Results, half_widths
from learn2mix.plotting import plot_proportions

# Okabe and Ito's colours, which colour-blind readers can tell apart; the line's style says the same once more.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
LINES = ("-", "--", "-.", ":")
# A linear axis would squeeze errors that differ by more than this factor.
LOG_FROM = 20


def draw_pictures(all_results: Sequence[Results], folder: Path) -> list[Path]:
    """Write two pictures a task: learning curves, and the path of the mix where one moves. Return their paths."""
    figures: dict[str, Figure] = {}
    for task in dict.fromkeys(results.task.name for results in all_results):
        of_task = [results for results in all_results if results.task.name == task]
        figures[f"{task}-curves.png"] = draw_learning_curves(of_task)
        moving = [results for results in of_task if results.mix_moves]
        if moving:
            figures[f"{task}-proportions.png"] = draw_mix_paths(moving)
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=120)
    return [folder / name for name in figures]


def draw_learning_curves(of_task: Sequence[Results]) -> Figure:
    """Test error after each epoch: the mean over the seeds, with a band of its 95 % t-interval."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    for results in of_task:
        _draw_curve(ax, results)
    means = np.concatenate([results.errors.mean(axis=0) for results in of_task])
    if means.max() > LOG_FROM * means.min() > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom=means.min() * 0.7)
    else:
        ax.set_ylim(bottom=0)
    ax.set(xlabel="epoch", ylabel=of_task[0].task.objective.error_name, title=of_task[0].task.name)
    ax.grid(alpha=0.3)
    ax.margins(x=0.01)
    figure.legend(loc="outside lower center", ncols=len(of_task), frameon=False)
    return figure


def _draw_curve(ax: Axes, results: Results) -> None:
    # By its place among all methods, so that a method looks the same in every picture.
    place = list(METHODS).index(results.method)
    color, line = COLORS[place % len(COLORS)], LINES[place % len(LINES)]
    epochs = np.arange(1, results.errors.shape[1] + 1)
    means, spread = results.errors.mean(axis=0), half_widths(results.errors)
    label = f"{results.method} ({len(results.seeds)} seed{'s' if len(results.seeds) > 1 else ''})"
    ax.plot(epochs, means, line, color=color, label=label)
    # Errors are not negative, whatever the interval of a few seeds says.
    ax.fill_between(epochs, np.maximum(means - spread, 0), means + spread, color=color, alpha=0.15, linewidth=0)


def draw_mix_paths(moving: Sequence[Results]) -> Figure:
    """The proportions before training and after each epoch, mean over the seeds, one panel a method."""
    figure = Figure(figsize=(7, 4 * len(moving)), layout="constrained")
    panels = figure.subplots(len(moving), squeeze=False)[:, 0]
    for ax, results in zip(panels, moving, strict=True):
        plot_proportions(results.proportions.mean(axis=0), results.group_names, ax)
        ax.set(xlabel="epoch", title=f"{results.task.name}, {results.method}: what the batches are made of")
    return figure
