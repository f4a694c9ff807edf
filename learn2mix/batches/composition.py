"""Exact batches, composed one after the other: what each group is owed, what waits, and how to take it back."""

from __future__ import annotations

import copy
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from learn2mix.apportioning import hand_out
from learn2mix.checks import Counts, Vector

Size = int | Callable[[Vector], int]  # samples in a batch, over all processes; or a function of the mix
FindMix = Callable[[int, int], Vector]  # (batches so far, epoch) -> proportions
FEWEST, MOST = 4, 64  # batches that are foreseen: fewer cost as much one by one
MOST_SAMPLES = 1 << 11  # in these, and groups: of more, each costs more than it saves


class Batch(NamedTuple):
    """A composed batch, over all processes. Its arrays are shared with others: nobody writes to them."""

    number: int  # over all epochs, from 0
    proportions: Vector  # asked for
    size: int  # samples
    counts: Counts  # of each group
    draws: Counts  # samples of each group in all batches before it
    drawn: Counts  # and with it
    credit: Vector  # owed to each group before it
    left: Vector  # and with it
    previous: Vector  # asked for by the batch before it
    replayed: bool = False  # composed before the state was saved from which this run goes on

    @property
    def checksum(self) -> int:
        """What tells it from a batch of another mix, or after other batches."""
        return zlib.crc32(self.drawn.tobytes(), zlib.crc32(self.proportions.tobytes()))


class Composition:
    """How far a run is, and what each group is owed; arrays have shape ``(num_groups,)``.

    A batch is composed, waits, and leaves once it was trained on. The batches that wait belong to the state, and can be
    taken back.
    """

    def __init__(self, prior: Vector) -> None:
        self._prior = self.newest = prior  # what the newest batch was asked to be
        self.draws: Counts = np.zeros(len(prior), dtype=np.int64)  # samples in the batches composed so far
        self.credit: Vector = np.zeros(len(prior))  # owed to each group
        self.composed = self.epoch = 0  # batches over all epochs; epoch of the next
        self._first = 0  # number of the first batch of this epoch
        self.waiting: deque[Batch] = deque()  # composed and not yet trained on, oldest first
        self.foreseen: deque[Batch] = deque()  # the next ones, if the mix and the size of a batch stay
        self._asked, self._asked_size, self._share = prior, 1, prior  # these two, and what they add to the credit
        self._in_a_row = 0  # batches that had them
        self._trained: set[int] = set()  # numbers of waiting batches: an older one waits still
        self._replay: deque[tuple[Vector, bool]] = deque()  # mixes of batches to compose again; whether trained on

    def compose(self, batch_size: Size, find_mix: FindMix, limits: Vector | None = None) -> Batch:
        """Compose the next batch; ``limits`` are the samples that are left of each group."""
        batch = self._compose_next(batch_size, find_mix, limits)
        while self._replay and self._replay[0][1]:  # trained on before the stop, out of order
            self.mark_trained(self._compose_next(batch_size, find_mix, None).number)
        return batch

    def _compose_next(self, batch_size: Size, find_mix: FindMix, limits: Vector | None) -> Batch:
        replayed = bool(self._replay)
        proportions = self._replay.popleft()[0] if replayed else find_mix(self.composed, self.epoch)
        size = batch_size(proportions) if callable(batch_size) else batch_size
        if proportions is not self._asked or size != self._asked_size or self.foreseen:
            self._ask(proportions, size)
        elif self._in_a_row >= FEWEST and limits is None:
            number = min(self._in_a_row, MOST, MOST_SAMPLES // max(size, len(self.draws)))
            self._foresee(number if number >= FEWEST else 0)
        batch = self.foreseen.popleft() if self.foreseen and limits is None else self._after(None, limits)
        if replayed:
            batch = batch._replace(replayed=True)
        self.draws, self.credit, self.newest = batch.drawn, batch.left, proportions
        self.composed += 1
        self._in_a_row += 1
        self.waiting.append(batch)
        return batch

    def _ask(self, proportions: Vector, size: int) -> None:
        """Forget what was foreseen unless the next batch has this mix and size."""
        ahead = self.foreseen
        if ahead and ahead[0].credit is not self.credit:  # batches were taken back, or a state was loaded
            ahead.clear()
        known = proportions is self._asked or (ahead and np.array_equal(proportions, self._asked))
        if not known or size != self._asked_size:
            ahead.clear()
            self._asked, self._asked_size, self._share, self._in_a_row = proportions, size, proportions * size, 0

    def _foresee(self, number: int) -> None:
        ahead = self.foreseen
        while len(ahead) < number:
            ahead.append(self._after(ahead[-1] if ahead else None))

    def _after(self, last: Batch | None, limits: Vector | None = None) -> Batch:
        """Return the batch after a foreseen one, or after those composed, if the mix and the size stay."""
        number, draws, credit, previous = self.composed, self.draws, self.credit, self.newest
        if last is not None:
            number, draws, credit, previous = last.number + 1, last.drawn, last.left, last.proportions
        owed, size = credit + self._share, self._asked_size
        if limits is not None:
            size = int(min(size, limits.sum()))
            owed = within(owed, limits, size)
        counts, left = hand_out(owed, size)
        return Batch(number, self._asked, size, counts, draws, draws + counts, credit, left, previous)

    def foresee(self, proportions: Vector, size: int, number: int) -> list[Batch]:
        """Return so many of the next batches as they will be if the mix stays, also beyond the epoch."""
        self._ask(proportions, size)
        self._foresee(number)
        return list(islice(self.foreseen, number))

    def undo_newest(self) -> None:
        """Take back the batch composed last."""
        batch = self.waiting.pop()
        self._go_back_to(batch)
        if batch.replayed:
            self._replay.appendleft((batch.proportions, False))

    def take_back(self) -> None:
        """Undo the batches that were composed and not trained on."""
        if not self.waiting:
            return
        last = max(self._trained, default=-1)
        again = [
            (batch.proportions, batch.number in self._trained)
            for batch in self.waiting
            if batch.replayed or batch.number <= last
        ]
        self._replay.extendleft(reversed(again))
        self._go_back_to(self.waiting[0])
        self._trained.clear()
        self.waiting.clear()

    def _go_back_to(self, batch: Batch) -> None:
        self.draws, self.credit, self.newest = batch.draws, batch.credit, batch.previous
        self.composed = batch.number

    def find(self, number: int) -> Batch:
        """Return the batch of this number, which waits."""
        return self.waiting[number - self.waiting[0].number]

    def mark_trained(self, number: int) -> Sequence[Batch]:
        """Count a batch that waits as trained on; return those that leave: it, if none before it waits, and others."""
        if not self._trained and self.waiting[0].number == number:  # as in most loops
            return (self.waiting.popleft(),)
        self._trained.add(number)
        left = []
        while self.waiting and self.waiting[0].number in self._trained:
            left.append(self.waiting.popleft())
            self._trained.discard(left[-1].number)
        return left

    def begin_epoch(self) -> None:
        """Begin the next epoch; it follows the mix of the moment, as it does in a run that was not stopped."""
        self._replay.clear()
        self.epoch, self._first = self.epoch + 1, self.composed

    @property
    def position(self) -> int:
        """Place of the next batch in its epoch, from 0."""
        return self.composed - self._first

    @property
    def lag(self) -> int:
        """Batches that wait and were not trained on."""
        return len(self.waiting) - len(self._trained)

    def as_if_trained(self, numbers: Iterable[int]) -> tuple[Composition, list[Batch]]:
        """Return a copy in which the batches of some numbers were trained on, and those that leave it by that."""
        copied = copy.copy(self)
        copied.waiting, copied._trained = self.waiting.copy(), self._trained.copy()
        return copied, [batch for number in numbers for batch in copied.mark_trained(number)]

    @property
    def draws_trained(self) -> Counts:
        """Samples of each group in the batches trained on."""
        return self.draws - sum(batch.counts for batch in self.waiting if batch.number not in self._trained)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers and lists: of the batches that wait their proportions, to compose them again as they were."""
        first = self.waiting[0] if self.waiting else None
        draws, credit, newest = (
            (first.draws, first.credit, first.previous) if first else (self.draws, self.credit, self.newest)
        )
        ahead = [(batch.proportions, batch.number in self._trained) for batch in self.waiting] + list(self._replay)
        return {
            "epoch": self.epoch,
            "position": self.position - len(self.waiting),
            "composed": self.composed - len(self.waiting),
            "draws": draws.tolist(),
            "credit": credit.tolist(),
            "newest": newest.tolist(),
            "ahead": [proportions.tolist() for proportions, _ in ahead],
            "ahead_trained": [trained_on for _, trained_on in ahead],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, of this version or the first."""
        ahead = [np.array(as_list(proportions)) for proportions in as_list(state["ahead"])]
        trained = state.get("ahead_trained") or [False] * len(ahead)
        self._replay = deque(zip(ahead, trained, strict=False))
        self.waiting.clear()
        self._trained.clear()
        self.draws = np.array(as_list(state["draws"]), dtype=np.int64)
        self.credit = np.array(as_list(state["credit"]))
        self.newest = np.array(state["newest"]) if "newest" in state else self._prior
        self.epoch, self.composed = state["epoch"], state["composed"]
        self._first = self.composed - state["position"]


def within(owed: Vector, limits: Vector, batch_size: int) -> Vector:
    """Return what is owed where groups run out: what one cannot give, those with samples left give instead.

    >>> within(np.array([4.0, 3.0, 1.0]), limits=np.array([2.0, np.inf, 0.0]), batch_size=8)
    array([2., 6., 0.])
    """
    given = np.minimum(owed, limits)
    while (lacking := batch_size - given.sum()) > 1e-9:
        room = limits - given
        givers = room > 0
        given = np.where(givers, np.minimum(given + lacking / np.count_nonzero(givers), limits), given)
    return given


def as_list(values: Any) -> Any:
    """Return a list as it is, and a tensor (of a state of the first version) as a list."""
    return values if isinstance(values, list) else values.tolist()
