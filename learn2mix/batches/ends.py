"""When the sources of a stream end, and what that does to the batches of an epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from learn2mix.checks import Counts, Vector

__all__ = ["ON_EXHAUSTED", "Ends"]

ON_EXHAUSTED = ("restart", "stop_first", "stop_all", "drop")


class Ends:
    """What is known of the lengths of the sources, and whether a batch may be drawn.

    A source that does not tell its length is read ahead, farther than any batch on its way can reach, so that no batch
    is composed that cannot be filled.

    Args:
        rule: one of ``ON_EXHAUSTED``.
        sizes: samples of each source; None where it does not say.

    Attributes:
        lengths: samples of each source, shape ``(num_sources,)``; -1 where not known.
    """

    def __init__(self, rule: str, sizes: Sequence[int | None]) -> None:
        self.rule = rule
        self.lengths: Counts = np.array([-1 if size is None else size for size in sizes], dtype=np.int64)
        self._known_up_to: Counts = np.zeros(len(sizes), dtype=np.int64)  # samples that each source has for certain

    @property
    def stops(self) -> bool:
        """Whether an epoch ends with the sources."""
        return self.rule != "restart"

    def learn(self, lengths: dict[int, int], known_up_to: dict[int, int]) -> None:
        """Note what a reader found out: whole lengths, and how many samples a source has at least."""
        for source, length in lengths.items():
            if length >= 0 and self.lengths[source] < 0:
                self.lengths[source] = length
        for source, count in known_up_to.items():
            self._known_up_to[source] = max(self._known_up_to[source], count)

    def begin_epoch(self) -> None:
        """Read the sources from their beginning."""
        self._known_up_to[:] = 0

    def look_ahead(self, drawn: Counts, horizon: int) -> Counts:
        """Return how far each source is to be looked at, shape ``(num_sources,)``; 0 where its end does not matter.

        Args:
            drawn: samples drawn of each source in this epoch.
            horizon: samples by which the batches on their way may go beyond that.
        """
        unknown = (self.lengths < 0) & self.stops
        ahead: Counts = np.where(unknown, drawn + horizon, 0)
        return ahead

    def knows_enough(self, drawn: Counts, batch_size: int) -> bool:
        """Whether it is known of each source if it can give a whole batch more."""
        if not self.stops:
            return True
        return bool(np.all((self.lengths >= 0) | (self._known_up_to >= drawn + batch_size)))

    def limits(self, drawn: Counts) -> Vector | None:
        """Return the samples left of each source, shape ``(num_sources,)``; None where they do not bound a batch."""
        if self.rule != "drop":
            return None
        left: Vector = np.where(self.lengths >= 0, self.lengths - drawn, np.inf)
        return left

    def ended(self, drawn: Counts, num_replicas: int) -> bool:
        """Whether the epoch is over: no process may get a batch of which another gets nothing."""
        limits = self.limits(drawn)
        if limits is not None:
            return bool(limits.sum() < num_replicas)
        done = (self.lengths >= 0) & (drawn >= self.lengths)
        return self.rule == "stop_all" and bool(done.all())

    def short_of(self, drawn: Counts) -> NDArray[np.int64]:
        """Return the sources that have fewer samples than were drawn, where that ends the epoch."""
        if self.rule != "stop_first":
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero((self.lengths >= 0) & (drawn > self.lengths))

    def never_ending(self, drawn: Counts, proportions: Vector) -> list[int]:
        """Return the sources without a share that ``"stop_all"`` would wait for for ever, at this mix."""
        if self.rule != "stop_all":
            return []
        done = (self.lengths >= 0) & (drawn >= self.lengths)
        if not done[proportions > 0].all():
            return []
        return [int(source) for source in np.flatnonzero(~done & (proportions == 0))]

    def mix_of_those_left(self, proportions: Vector, drawn: Counts) -> Vector:
        """Return the mix without the sources that are used up, where they leave it."""
        limits = self.limits(drawn)
        if limits is None:
            return proportions
        left = np.where(limits > 0, proportions, 0.0)
        if left.sum() == 0:
            left = (limits > 0).astype(np.float64)
        mix: Vector = left / left.sum()
        return mix

    def state_dict(self) -> dict[str, Any]:
        """Return the lengths as a list; what is known of the others is found out again."""
        return {"lengths": self.lengths.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; lengths that the sources tell here go first."""
        self.learn(dict(enumerate(state["lengths"])), {})
        self.begin_epoch()
