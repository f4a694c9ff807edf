"""Pictures of a mix."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.extras import needs_extra

with needs_extra("plot"):
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

__all__ = ["plot_proportions"]

MAX_NAMED = 20  # more names cannot be read beside a picture of ordinary size


def plot_proportions(
    proportions: ArrayLike, group_names: Sequence[object] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the path of a mix as a stacked area: one band a group, in the order of the groups, the first lowest.

    The bands have steps, for a mix holds until the next one. Of more than 20 groups, the 19 that end largest keep their
    names and the rest becomes one band.

    Args:
        proportions: the mix at each time, shape ``(num_times, num_groups)``; row ``t`` spans ``t`` to ``t + 1``.
        group_names: one name a group; None numbers them from 0.
        ax: where to draw; None makes a new figure.

    Returns:
        The axes, with the legend to the right of them. Label the x axis as what a row stands for; it says "update".

    Raises:
        ValueError: if ``proportions`` is not 2-D or empty, or there is not one name a group.

    Example:
        >>> ax = plot_proportions([[0.8, 0.2], [0.6, 0.4], [0.5, 0.5]], ["cat", "dog"])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['dog', 'cat']
    """
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
    tops, edges = path.cumsum(axis=1).T, np.arange(len(path) + 1)
    for top, height, name, color in zip(tops, path.T, names, colors, strict=True):
        ax.stairs(top, edges, baseline=top - height, fill=True, label=name, color=color, edgecolor="white", lw=0.5)
    ax.set(xlim=(0, len(path)), ylim=(0, 1), xlabel="update", ylabel="proportion of the batch")
    # Reversed, so that the names stand in the order of the bands.
    ax.legend(reverse=True, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, title="group")
    return ax
