"""When the sources of a stream end, and what that does to the batches of an epoch."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learn2mix.batches.delivery import MOST_KEPT
from learn2mix.checks import Counts, Vector
from learn2mix.mixers.base import Mixer

ON_EXHAUSTED = ("restart", "stop_first", "stop_all", "drop")
LONG = 100  # batches after which an epoch of two passes is not taken for one
NO_EPOCH = (
    "MixedStream: {} moves the mix at the end of an epoch, and no epoch of this stream has ended in {} batches: where "
    "sources restart, an epoch ends where the loop leaves it, for batch in islice(loader, n) "
    '(Trainer(limit_train_batches=n)); do so, give every=n, or use on_exhausted="stop_all"'
)


class Ends:
    """What is known of the lengths of the sources, and whether a batch may be drawn.

    A source that can only be iterated is read ahead in each epoch, farther than any batch on its way can reach, so that
    each batch can be filled, whatever its ``len`` and the epoch before said. ``drawn`` is always the samples drawn of
    each source in this epoch, shape ``(num_sources,)``.

    Attributes:
        stops: whether an epoch ends with the sources.
        lengths: samples of each source, as far as it was told or found out, shape ``(num_sources,)``; else -1.
    """

    def __init__(self, rule: str, lengths: Counts, fixed: NDArray[np.bool_]) -> None:
        """``fixed`` says which sources are map-style data, shape ``(num_sources,)``."""
        self._rule, self.stops, self.lengths, self._fixed = rule, rule != "restart", lengths, fixed
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Read the sources from their beginning."""
        self._found = self._fixed.copy()  # whether the length in this epoch is known
        self._known_up_to = np.zeros_like(self.lengths)  # samples that each source has for certain

    def recall(self, lengths: list[int]) -> None:
        """Note lengths of an earlier run where the sources tell none."""
        self.lengths = np.where(self.lengths < 0, lengths, self.lengths)

    def learn(self, source: int, length: int | None, known_up_to: int = 0) -> None:
        """Note the length of a source, if it was found out, and how many samples it has at least."""
        if length is not None and not self._found[source]:
            self.lengths[source], self._found[source] = length, True
        self._known_up_to[source] = max(self._known_up_to[source], known_up_to)

    def look_ahead(self, drawn: Counts, horizon: int) -> list[int]:
        """Return up to which sample, ``horizon`` beyond those drawn, each source is to be read; 0 for none."""
        if not self.stops:
            return [0] * len(drawn)
        return np.where(self._found, 0, drawn + horizon).tolist()  # type: ignore[no-any-return]

    def knows_enough(self, drawn: Counts, batch_size: int) -> bool:
        """Whether it is known of each source if it can give a whole batch more."""
        return not self.stops or bool(np.all(self._found | (self._known_up_to >= drawn + batch_size)))

    def limits(self, drawn: Counts) -> NDArray[Any] | None:
        """Return the samples left of each source, shape ``(num_sources,)``; None where they do not bound a batch."""
        return np.where(self._found, self.lengths - drawn, np.inf) if self._rule == "drop" else None

    def ended(self, drawn: Counts, num_replicas: int) -> bool:
        """Whether the epoch is over: no process may get a batch of which another gets nothing."""
        limits = self.limits(drawn)
        if limits is not None:
            return bool(limits.sum() < num_replicas)
        return self._rule == "stop_all" and bool(self._done(drawn).all())

    def _done(self, drawn: Counts) -> NDArray[np.bool_]:
        return self._found & (drawn >= self.lengths)  # type: ignore[no-any-return]

    def short_of(self, drawn: Counts) -> Any:
        """Return the sources that have fewer samples than were drawn, where that ends the epoch."""
        return np.flatnonzero(self._found & (drawn > self.lengths)) if self._rule == "stop_first" else ()

    def never_ending(self, drawn: Counts, proportions: Vector) -> Any:
        """Return the sources without a share that ``"stop_all"`` would wait for for ever, at this mix."""
        done = self._done(drawn)
        return np.flatnonzero(~done & (proportions == 0)) if done[proportions > 0].all() else ()

    def mix_of_those_left(self, proportions: Vector, drawn: Counts) -> Vector:
        """Return the mix without the sources that are used up, where they leave it."""
        limits = self.limits(drawn)
        if limits is None:
            return proportions
        left = np.where(limits > 0, proportions, 0.0)
        if left.sum() == 0:
            left = (limits > 0).astype(np.float64)
        return left / left.sum()  # type: ignore[no-any-return]


def tell_of_no_epoch(mixer: Mixer, num_batches: int, drawn: Counts, sizes: Vector) -> bool:
    """Warn of a mix that waits for the end of an epoch where a loop seems to have none; return whether it was told.

    Args:
        mixer: one that moves the mix at the end of an epoch.
        num_batches: of the epoch so far.
        drawn: samples of each source in them, shape ``(num_sources,)``.
        sizes: of the sources, shape as ``drawn``, NaN where not known.
    """
    mixed = mixer.proportions > 0
    passes = drawn[mixed] / sizes[mixed]
    if num_batches < (MOST_KEPT if np.isnan(passes).any() else LONG) or passes.min() < 2:
        return False
    warnings.warn(NO_EPOCH.format(type(mixer).__name__, num_batches), stacklevel=2)
    return True
