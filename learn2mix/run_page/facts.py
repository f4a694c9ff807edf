"""What a page says of a run, in numbers: which groups are drawn strongly, what moved and when, what was given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from learn2mix.batches.recorder import most_rows

if TYPE_CHECKING:
    from learn2mix.history import History

MOST_WINDOWS = 60
MOST_STRONG = 8  # more colours cannot be told apart

Array = NDArray[Any]


@dataclass(frozen=True)
class Move:
    """The largest move of one group's share, from one row of a history to a later one."""

    group: int
    before: float
    after: float
    begin: int  # batches observed when it began
    end: int

    @property
    def size(self) -> float:
        """How far the share moved, at least 0."""
        return abs(self.after - self.before)


class Facts:
    """A history, and what is computed of it once for all sections of a page.

    A row of a history says what holds *from* its step on, and what was seen *before* it. Here the mix is by span: span
    ``t`` goes from ``edges[t]`` to ``edges[t + 1]`` batches, at the mix ``mix[t]``, of a long run the mean of what its
    batches were asked for. What was seen is pooled in windows of many spans, for a few samples of a rare group are
    noise.

    Attributes:
        steady: a share that moves less stands still: half a hundredth, or a twentieth of an even share of many groups.
        move_sizes: how far each share rose or fell at most, in whatever time; shape ``(K,)``.
        by_movement: groups, those first whose share moved most; of equals, those that end largest.
        strong: the groups with a colour of their own, in their order; ``others`` are those without.
    """

    def __init__(self, history: History) -> None:
        self.history, self.mix, self.steps = history, history.proportions, history.steps
        self.names = [str(name) for name in history.group_names]
        self.num_groups, self.num_batches = len(self.names), int(self.steps[-1])
        if len(history) > most_rows(self.num_groups) // 2 + 1:  # rows may be gone: a mix that takes turns stood still
            asked, known = history.requested[1:], np.isfinite(history.requested[1:])
            self.mix = np.concatenate([np.where(known, asked, self.mix[:-1]), self.mix[-1:]])
        # The open last span is drawn a hundredth wide.
        self.edges: Array = np.append(self.steps, self.num_batches + max(1, self.num_batches // 100))
        self.steady = min(0.005, 0.05 / self.num_groups)
        rises = self.mix - np.minimum.accumulate(self.mix, axis=0)
        falls = np.maximum.accumulate(self.mix, axis=0) - self.mix
        self.move_sizes: Array = np.maximum(rises.max(axis=0), falls.max(axis=0))
        self.by_movement: list[int] = np.lexsort((-self.mix[-1], -self.move_sizes.round(9))).tolist()
        self.strong, self.others = sorted(self.by_movement[:MOST_STRONG]), sorted(self.by_movement[MOST_STRONG:])

    @cached_property
    def _windows(self) -> Array:
        """The rows at which windows begin, and the one at which the last ends."""
        return np.unique(np.searchsorted(self.steps, np.linspace(0, self.num_batches, MOST_WINDOWS + 1)))

    @property
    def window_edges(self) -> Array:
        """Where windows begin and end, in batches, shape ``(W + 1,)``; W is 0 before the first batch."""
        return self.steps[self._windows]

    @cached_property
    def requested(self) -> Array:
        """Mean of the mix in each window, shape ``(W, K)``."""
        return self._pooled(self.history.requested[1:], np.diff(self.steps)[:, None])

    @cached_property
    def realised(self) -> Array:
        """Share of the samples in each window, shape ``(W, K)``."""
        return self._pooled(self.history.realised[1:], np.diff(self.steps)[:, None])

    @cached_property
    def losses(self) -> Array:
        """Mean over the samples of each group in each window, shape ``(W, K)``; NaN where it was not seen."""
        num_samples = np.diff(self.steps)[:, None] * np.nan_to_num(self.history.realised[1:])
        return self._pooled(self.history.losses[1:], np.maximum(num_samples, 1e-9))

    def _pooled(self, values: Array, weights: Array) -> Array:
        """Weighted means in windows, of spans of which something is known; from ``(T - 1, K)`` to ``(W, K)``."""
        begins, end = self._windows[:-1], self._windows[-1]
        if len(begins) == 0:
            return np.empty((0, self.num_groups))
        known = np.isfinite(values)
        weights = np.where(known, weights, 0.0)[:end]
        sums = np.add.reduceat(np.where(known, values, 0.0)[:end] * weights, begins)
        with np.errstate(invalid="ignore"):
            means: Array = sums / np.add.reduceat(weights, begins)
        return means

    def move(self, group: int) -> Move:
        """Return the largest rise or fall of a group's share, as short in time as it can be told."""
        path = self.mix[:, group]
        moves = []
        for sign in (1, -1):
            lowest = np.minimum.accumulate(sign * path)
            end = int((sign * path - lowest).argmax())
            begin = int(np.flatnonzero(sign * path[: end + 1] == lowest[end])[-1])
            moves.append(Move(group, path[begin], path[end], int(self.steps[begin]), int(self.steps[end])))
        return max(moves, key=lambda move: move.size)

    @cached_property
    def mean_requested(self) -> Array:
        """The mix asked for, mean over the batches observed, shape ``(K,)``; NaN before the first."""
        return self._mean(self.requested)

    @cached_property
    def mean_realised(self) -> Array:
        """The shares of the samples that all batches observed had, shape ``(K,)``; NaN before the first."""
        return self._mean(self.realised)

    def _mean(self, values: Array) -> Array:
        with np.errstate(invalid="ignore"):
            mean: Array = np.diff(self.window_edges) @ values / self.num_batches
        return mean

    @cached_property
    def last_losses(self) -> Array:
        """Of each group in the last window in which it was seen, shape ``(K,)``; NaN where there is none."""
        losses = np.concatenate([np.full((1, self.num_groups), np.nan), self.losses])
        last = len(losses) - 1 - np.isfinite(losses)[::-1].argmax(axis=0)
        kept: Array = losses[last, np.arange(self.num_groups)]
        return kept
