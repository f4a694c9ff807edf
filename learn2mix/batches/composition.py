"""Exact batches, composed one after the other, and which of them wait to be trained on."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from learn2mix.functional import apportion_owed

if TYPE_CHECKING:
    from collections.abc import Callable

    from learn2mix.checks import Counts, Vector

__all__ = ["ComposedBatch", "Composition"]

MOST_WAITING = 1024  # batches, where nothing is observed: no loader composes so many ahead


class ComposedBatch(NamedTuple):
    """A batch between composition and observation, with what it takes to undo it."""

    position: int  # in its epoch
    proportions: Vector  # asked for
    counts: Counts  # given, over all processes
    draws: Counts  # made of each group before it
    credit: Vector  # of each group before it
    replayed: bool  # composed before the state was saved from which this run goes on


class Composition:
    """How far a run is, and what each group is owed.

    A batch is composed, waits, and is taken once it was trained on. Batches that wait belong to the state, and can be
    taken back.

    Args:
        prior: the data's own mix, shape ``(num_groups,)``.

    Attributes:
        draws: samples of each group in the batches composed so far, shape ``(num_groups,)``.
        newest: what the newest batch was asked to be, shape ``(num_groups,)``; the prior before the first.
        composed: batches, over all epochs.
        epoch: which one it is, from 0.
        position: of the next batch to compose, in its epoch.
        first: position where this iteration began: not 0 where a run goes on in the middle of an epoch.
        observing: whether a batch counts as trained on once it was taken; else once it was composed.
    """

    def __init__(self, prior: Vector) -> None:
        self.newest = prior
        self.draws: Counts = np.zeros(len(prior), dtype=np.int64)
        self._credit: Vector = np.zeros(len(prior))
        self.composed = self.epoch = self.position = self.first = 0
        self.observing = False
        self._ahead = 0  # batches that wait when one of them is taken, in this iteration
        self._waiting: deque[ComposedBatch] = deque()
        self._replay: deque[Vector] = deque()  # proportions of batches composed before a stop, to be composed again

    def compose(self, position: int, batch_size: int, find_mix: Callable[[int, int], Vector]) -> ComposedBatch:
        """Compose the next batch.

        Args:
            position: of the batch in its epoch.
            batch_size: samples in it, over all processes.
            find_mix: ``(batches so far, epoch) -> proportions``; not asked where a batch is composed again.
        """
        replayed = bool(self._replay)
        proportions = self._replay.popleft() if replayed else find_mix(self.composed, self.epoch)
        owed = self._credit + proportions * batch_size
        counts = apportion_owed(owed, batch_size)
        batch = ComposedBatch(position, proportions, counts, self.draws, self._credit, replayed)
        self.draws, self._credit, self.newest = self.draws + counts, owed - counts, proportions
        self.composed += 1
        self.position = position + 1
        self._waiting.append(batch)
        if not self.observing and self.lag > MOST_WAITING:
            self._waiting.popleft()
        return batch

    # ------------------------------------------------------------------ batches that wait

    @property
    def lag(self) -> int:
        """Batches that wait."""
        return len(self._waiting)

    @property
    def trained_on(self) -> Counts:
        """Samples of each group in the batches trained on so far, shape ``(num_groups,)``."""
        return self._waiting[0].draws if self._waiting and self.observing else self.draws

    def oldest(self) -> ComposedBatch:
        """Return the batch that has waited longest, or raise a ValueError where none waits."""
        if not self._waiting:
            raise ValueError("losses: every batch composed so far was observed; call observe once for each batch")
        return self._waiting[0]

    def take(self) -> None:
        """Count the oldest batch as trained on."""
        self._ahead = self._ahead or self.lag
        self._waiting.popleft()
        self.observing = True

    def check_order(self) -> None:
        """Raise a RuntimeError where more batches wait than ever before in this iteration: one was never taken."""
        if 0 < self._ahead < self.lag:
            raise RuntimeError(
                f"losses: {self.lag - self._ahead} batch(es) before this one were never observed, whose losses these "
                "would be taken for; call observe(None) after a batch without losses"
            )

    def take_back(self) -> None:
        """Undo the batches that were composed ahead and never trained on."""
        if self._waiting and self.observing:
            oldest = self._waiting[0]
            self._replay.extendleft(batch.proportions for batch in reversed(self._waiting) if batch.replayed)
            self.draws, self._credit, self.position = oldest.draws, oldest.credit, oldest.position
            self.composed -= len(self._waiting)
        self._waiting.clear()

    def begin_iteration(self) -> None:
        """Begin where the last one ended."""
        self.first, self._ahead = self.position, 0

    def begin_epoch(self) -> None:
        """Begin the next epoch; it follows the mix of the moment, as it does in a run that was not stopped."""
        self._replay.clear()
        self.epoch, self.position, self.first = self.epoch + 1, 0, 0

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return numbers and tensors: of batches that wait the proportions, to compose them again as they were."""
        waiting = list(self._waiting) if self.observing else []
        draws, credit = (waiting[0].draws, waiting[0].credit) if waiting else (self.draws, self._credit)
        ahead = [batch.proportions for batch in waiting] + list(self._replay)
        return {
            "epoch": self.epoch,
            "position": self.position - len(waiting),
            "composed": self.composed - len(waiting),
            "draws": torch.from_numpy(draws.copy()),
            "credit": torch.from_numpy(credit.copy()),
            "ahead": torch.from_numpy(np.array(ahead).reshape(len(ahead), len(draws))),
            "observing": self.observing,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned."""
        self._waiting.clear()
        self._replay = deque(state["ahead"].numpy().copy())
        self.draws, self._credit = state["draws"].numpy().copy(), state["credit"].numpy().copy()
        self.epoch, self.position, self.composed = state["epoch"], state["position"], state["composed"]
        self.first, self.observing = self.position, state["observing"]
