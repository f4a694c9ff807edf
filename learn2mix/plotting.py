"""Pictures of a mix, by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learn2mix.extras import needs_extra
from learn2mix.history import History
from learn2mix.run_page.charts import LIGHT, MOST_GREY, NUM_SOLID, quartiles
from learn2mix.run_page.facts import Facts

with needs_extra("plot"):
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


__all__ = ["plot_history", "plot_proportions"]

GREY = "#b3bac3"
MAX_NAMED = 20  # more names cannot be read beside a picture of ordinary size


def plot_proportions(
    proportions: ArrayLike | History, group_names: Sequence[object] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the path of a mix as a stacked area: one band a group, in the order of the groups, the first lowest.

    The bands have steps, for a mix holds until the next one. Of more than 20 groups, the 19 that end largest keep their
    names and the rest becomes one band.

    Args:
        proportions: the mix at each time, shape ``(num_times, num_groups)``; row ``t`` spans ``t`` to ``t + 1``. Or a
            history (``sampler.history``), whose rows span the batches from one update to the next.
        group_names: one name a group; None takes those of the history, or numbers them from 0.
        ax: where to draw; None makes a new figure.

    Returns:
        The axes, with the legend to the right of them. Label the x axis as what a row stands for; it says "update", or
        "batch" for a history.

    Raises:
        ValueError: if ``proportions`` is not 2-D or empty, or there is not one name a group.

    Example:
        >>> ax = plot_proportions([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]], ["cat", "dog"])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['dog', 'cat']
    """
    unit, edges = "update", None
    if isinstance(proportions, History):
        facts = Facts(proportions)
        group_names = facts.names if group_names is None else group_names
        unit, edges, proportions = "batch", facts.edges, facts.mix
    path = np.asarray(proportions, dtype=np.float64)
    if path.ndim != 2 or path.size == 0:
        raise ValueError(f"proportions must have the shape (num_times, num_groups), none of them 0, got {path.shape}")
    names = [str(name) for name in (range(path.shape[1]) if group_names is None else group_names)]
    if len(names) != path.shape[1]:
        raise ValueError(f"group_names must be one a group: {path.shape[1]} groups, got {len(names)} names")
    if len(names) > MAX_NAMED:
        kept = np.sort(np.argsort(-path[-1], kind="stable")[: MAX_NAMED - 1])  # those that end largest, in their order
        rest = np.delete(path, kept, axis=1)
        path = np.column_stack([path[:, kept], rest.sum(axis=1)])
        names = [*(names[group] for group in kept), f"{rest.shape[1]} others"]
    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    # From dark to light in one colour-blind safe map, so that the order tells the bands apart for any number of them.
    colors = plt.get_cmap("cividis")(np.linspace(0, 1, len(names)))
    tops, edges = path.cumsum(axis=1).T, np.arange(len(path) + 1) if edges is None else edges
    for top, height, name, color in zip(tops, path.T, names, colors, strict=True):
        ax.stairs(top, edges, baseline=top - height, fill=True, label=name, color=color, edgecolor="white", lw=0.5)
    ax.set(xlim=(0, edges[-1]), ylim=(0, 1), xlabel=unit, ylabel="proportion of the batch")
    # Reversed, so that the names stand in the order of the bands.
    ax.legend(reverse=True, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="group")
    return ax


def plot_history(history: History) -> Figure:
    """Draw a run as a figure for a logger or a paper: the mix and the loss of each group, in steps.

    The 8 groups that moved most have colours, the same in both; the others are grey.

    Args:
        history: of a sampler or stream.

    Returns:
        A figure of its own, 9 x 6 inches; without losses the mix alone, 9 x 3.5. It is none of pyplot's, so that
        nothing needs to be closed: ``figure.savefig(path)``, or give it to a logger.

    Example:
        >>> from learn2mix import Learn2Mix, MixedBatchSampler
        >>> sampler = MixedBatchSampler(["cat"] * 6 + ["dog"] * 2, Learn2Mix(0.5), batch_size=4)
        >>> for batch in sampler:
        ...     sampler.observe([1.0 if index < 6 else 3.0 for index in batch])
        >>> [ax.get_ylabel() for ax in plot_history(sampler.history).axes]
        ['proportion of the batch', 'loss']
    """
    facts = Facts(history)
    panels = {
        "proportion of the batch": (facts.edges, facts.mix),
        "loss": (facts.window_edges, facts.losses),
    }
    if not np.isfinite(facts.losses).any():
        del panels["loss"]
    figure = Figure(figsize=(9, 6 if len(panels) == 2 else 3.5), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (label, (edges, values)) in zip(axes, panels.items(), strict=True):
        _plot_steps(ax, facts, edges, values)
        ax.set(ylabel=label, xlim=(0, facts.edges[-1]))
    axes[-1].set_xlabel("batch")
    axes[0].legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, title="group")
    return figure


def _plot_steps(ax: Axes, facts: Facts, edges: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    """Draw a step line per group; of many groups the grey ones as a band, its middle half darker."""
    others = values[:, facts.others]
    if others.shape[1] > MOST_GREY:
        lowest, first, _, third, highest = quartiles(others)
        for low, high in ((lowest, highest), (first, third)):
            ax.stairs(high, edges, baseline=low, fill=True, color=GREY, alpha=0.45, lw=0)
    else:
        for path in others.T:
            ax.stairs(path, edges, baseline=None, color=GREY, lw=0.7)
    for place, group in enumerate(facts.strong):
        style, name = "-" if place < NUM_SOLID else "--", facts.names[group]
        ax.stairs(values[:, group], edges, baseline=None, lw=1.6, color=LIGHT[place], ls=style, label=name)
    ax.grid(axis="y", color="#dfe3e8")
