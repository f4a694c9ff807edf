"""The mix of a run, at each of its updates, as a table of arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learn2mix.checks import Counts, Vector, frozen

MOST_SHOWN = 3  # groups in a repr


@dataclass(frozen=True, repr=False, eq=False)
class History:
    """What the batches of a run were asked to be and were, row by row, from ``sampler.history``.

    The first row is the start, the last one the present, and each row between them an update of the mix. Of mixers that
    follow no losses, a batch is one that was asked for another mix than the batch before, and at least every 100th.

    Memory is bounded: there are at most 512 rows besides the last, fewer of more than 512 groups, and 2 of 100,000.
    When they are full, every second one goes, and from then on every 2nd, 4th, ... update becomes a row. ``realised``
    and ``losses`` of the rows that stay cover all batches between them. A history is part of the state of a run.

    All arrays are read-only. With ``T`` rows of ``K`` groups:

    Attributes:
        group_names: one name per group.
        batch_size: samples per batch, over all processes.
        sizes: samples of each group, shape ``(K,)``, int64; -1 where not known (streams).
        steps: batches observed when the mix became what the row says, over all epochs, shape ``(T,)``, int64.
        proportions: the mix from that step on, shape ``(T, K)``, float64: what the mixer asks for, or, where the mix
            follows the progress of the run, what batch number ``steps`` was asked to be.
        requested: mean of the mixes that the batches since the row before were asked for, shape ``(T, K)``; NaN in the
            first. With workers it follows ``proportions`` a few batches later; where a stream runs out of a group, only
            what could be given counts as asked for.
        realised: share of each group in the batches since the row before, shape ``(T, K)``; NaN in the first.
        losses: mean loss of each group since the row before, as the mixer got them, shape ``(T, K)``; NaN where not
            known, and for more than 10,000 groups.
        passes: samples drawn of each group by then, per sample of it, shape ``(T, K)``; NaN where its size is unknown.
        lag: batches composed and not yet observed at that step, shape ``(T,)``, int64: those still follow older mixes,
            unless the mix follows the progress of the run. 0 in a loop that never observes.

    Example:
        >>> from learn2mix import Learn2Mix, MixedBatchSampler
        >>> sampler = MixedBatchSampler(["cat"] * 6 + ["dog"] * 2, Learn2Mix(0.5), batch_size=4)
        >>> for batch in sampler:
        ...     sampler.observe([1.0 if index < 6 else 3.0 for index in batch])
        >>> sampler.history
        History(3 rows of 2 groups, batches 0 to 2: cat 0.75 to 0.375, dog 0.25 to 0.625)
        >>> sampler.history.proportions.tolist()
        [[0.75, 0.25], [0.5, 0.5], [0.375, 0.625]]
    """

    group_names: tuple[Any, ...]
    batch_size: int
    sizes: Counts
    steps: Counts
    proportions: NDArray[np.float64]
    requested: NDArray[np.float64]
    realised: NDArray[np.float64]
    losses: NDArray[np.float64]
    passes: NDArray[np.float64]
    lag: Counts

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                frozen(value)

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def coverage(self) -> NDArray[np.float64]:
        """Share of each group's samples that were drawn at least once by then, shape ``(T, K)``; NaN where unknown."""
        return frozen(np.minimum(self.passes, 1.0))

    def movers(self, count: int) -> list[int]:
        """Return the numbers of the groups whose shares changed most from the first row to the last, largest first."""
        change = np.abs(self.proportions[-1] - self.proportions[0])
        groups: list[int] = np.argsort(-change, kind="stable")[:count].tolist()
        return groups

    def __repr__(self) -> str:
        first, last, shown = self.proportions[0], self.proportions[-1], sorted(self.movers(MOST_SHOWN))
        moves = [f"{self.group_names[group]} {first[group]:.3g} to {last[group]:.3g}" for group in shown]
        if len(self.group_names) > len(moves):
            moves.append("...")
        steps = f"batches {self.steps[0]} to {self.steps[-1]}"
        rows = f"{len(self)} row{'s' * (len(self) > 1)}"
        return f"History({rows} of {len(self.group_names)} groups, {steps}: {', '.join(moves)})"

    def to_dict(self) -> dict[str, Any]:
        """Return lists and numbers by the names of the attributes, for JSON or pandas; None where a value is NaN."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)} | {"coverage": self.coverage}
        return columns | {name: _plain(values) for name, values in columns.items() if name != "batch_size"}


def _plain(values: Any) -> Any:
    if not isinstance(values, np.ndarray):
        return list(values)
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


def shares_of(draws: Counts | Vector) -> Vector:
    """Return the share of each group in the samples between one row of draws and the next; NaN in the first row.

    Example:
        >>> shares_of(np.array([[0, 0], [3, 1], [3, 5]]))
        array([[ nan,  nan],
               [0.75, 0.25],
               [0.  , 1.  ]])
    """
    drawn = np.diff(draws, axis=0, prepend=draws[:1])
    with np.errstate(invalid="ignore"):
        shares: Vector = drawn / drawn.sum(axis=1, keepdims=True)
    return shares
