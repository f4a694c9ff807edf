"""How far the shards of the sources are read, planned where the batches are composed, and states to go on from."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from learn2mix.batches.composition import Batch
from learn2mix.batches.split import own_counts
from learn2mix.checks import Counts

if TYPE_CHECKING:
    from learn2mix.streams.reader import News

WHOLE = -1  # in the place of a shard: the source in the order that every reader sees

Segment = tuple[int, int, int]  # shard, number of the first sample in its endless passes, samples


class Shards:
    """How far each shard of each source is read, over all processes; the same on every process.

    Batch ``n`` reads from shard ``n % num_shards``, which is that of one worker. A shard that is a pass ahead of
    another waits, and the others take over, once a length is known. Batches that wait can be gone back to.

    Attributes:
        drawn: samples of each shard in the batches planned so far, shape ``(num_sources, num_shards)``.
        own: samples of each source that each process has in them, shape ``(num_replicas, num_sources)``.
        lengths: samples in each shard, shape as ``drawn``; -1 where not known.
        plans: what batches read that wait, or that are composed again, by their numbers.
    """

    def __init__(self, num_sources: int, num_replicas: int) -> None:
        self.drawn: Counts = np.zeros((num_sources, 1), dtype=np.int64)  # replaced and not written to, as own is
        self.own: Counts = np.zeros((num_replicas, num_sources), dtype=np.int64)
        self.lengths: Counts = np.full((num_sources, 1), -1)
        self._known_from: Counts = np.zeros_like(self.lengths)  # number of the first batch that was planned by a length
        self._kinds: dict[int, str] = {}  # how each source is split, as readers have told
        self._used = True  # whether a source may be split by shards
        self.plans: dict[int, Any] = {}
        self._before: dict[int, tuple[Counts, Counts]] = {}  # drawn and own before a batch that waits, by its number
        # Of sources that have one: the newest, by source and shard, to go on from without reading again.
        self._states: dict[tuple[int, int], deque[dict[str, Any]]] = {}

    @property
    def num_shards(self) -> int:
        """Shards of each source."""
        return int(self.drawn.shape[1])

    @property
    def num_parts(self) -> int:
        """Parts of the sources that have one for each worker; 0 as long as none is known."""
        return self.num_shards if "shards" in self._kinds.values() else 0

    def split(self, num_shards: int, num_replicas: int) -> None:
        """Split the sources into this many shards, where nothing was read yet; else they stay as they are."""
        if self.drawn.any():
            return
        self.own = np.zeros((num_replicas, len(self.drawn)), dtype=np.int64)
        if num_shards != self.num_shards:
            self.drawn = np.zeros((len(self.drawn), num_shards), dtype=np.int64)
            self.lengths, self._known_from = np.full_like(self.drawn, -1), np.zeros_like(self.drawn)

    def learn(self, source: int, shard: int, found: News, number: int, max_ahead: int) -> None:
        """Note how a source is split, a length, if it is known, and a state: as many as batches may be taken back.

        Batches from ``number`` on are planned by the length; those before it, composed again, as they were.
        """
        kind, length, state = found.kind, found.length, found.state
        self._kinds[source] = kind
        self._used = len(self._kinds) < len(self.drawn) or self.num_parts > 0
        if length is not None and shard != WHOLE and length > self.lengths[source, shard]:
            self.lengths[source, shard], self._known_from[source, shard] = length, number
        if state is not None and _is_plain(state):
            self._states.setdefault((source, shard), deque(maxlen=max_ahead + 3)).append(state)

    def plan(self, batch: Batch, oldest: int, num_replicas: int) -> list[list[Segment]] | None:
        """Return what a batch reads of each source, and count it; None if there are no shards.

        One that is composed again reads what it read before. Nobody goes back beyond batch number ``oldest``.
        """
        self._before[batch.number] = self.drawn, self.own
        self.own = self.own + (own_counts(batch.counts, num_replicas) if num_replicas > 1 else batch.counts)
        self.drawn = self.drawn.copy()
        planned = self.plans.get(batch.number) if batch.replayed else None
        if planned is not None:
            for source, segments in enumerate(planned):
                for shard, _, count in segments:
                    self.drawn[source, shard] += count
        elif self.num_shards == 1 or not self._used:
            self.drawn[:, 0] += batch.counts
        else:
            lengths = np.where(self._known_from <= batch.number, self.lengths, -1).tolist()
            drawn, first = self.drawn.tolist(), batch.number % self.num_shards
            planned = [_take(drawn[n], lengths[n], first, count) for n, count in enumerate(batch.counts.tolist())]
            self.drawn = np.array(drawn, dtype=np.int64)
        self.plans[batch.number] = planned
        for past in (self._before, self.plans):
            while (number := next(iter(past))) < oldest:
                del past[number]
        return planned

    def go_back_to(self, number: int) -> None:
        """Go back to where things were when a batch that waits was planned."""
        self.drawn, self.own = self._before.get(number, (self.drawn, self.own))
        self._before.clear()

    def begin_anew(self) -> None:
        """Read the sources from their beginning."""
        self.drawn, self.own = np.zeros_like(self.drawn), np.zeros_like(self.own)
        self._states.clear()

    @property
    def split_by_process(self) -> set[int]:
        """The sources of which each process reads a part of its own."""
        return {source for source, kind in self._kinds.items() if kind == "own"}

    def states_before(self, number: int, drawn: Any, rank: int) -> list[Any]:
        """Return the newest states, as source, shard and state, that are not beyond where the sources are to go on.

        That is with a batch, before which all processes together have ``drawn``, shape ``(num_sources,)``.
        """
        by_shard, own = self._before.get(number, (self.drawn, self.own))
        found = []
        for (source, shard), states in self._states.items():
            at = int(min(drawn[source], own[rank, source]) if shard == WHOLE else by_shard[source, shard])
            fitting = [state for state in states if state["number"] <= at]
            if fitting:
                found.append([source, shard, max(fitting, key=lambda state: int(state["number"]))])
        return found

    def state_dict(self, number: int, num_ahead: int, drawn: Any, rank: int) -> dict[str, Any]:
        """Return what a run needs that goes on with a batch, and composes ``num_ahead`` again as they were."""
        by_shard, own = self._before.get(number, (self.drawn, self.own))
        return {
            "plans": [self.plans.get(number + ahead) or [] for ahead in range(num_ahead)],
            "shards": {
                "drawn": by_shard.tolist(),
                "lengths": self.lengths.tolist(),
                "known_from": self._known_from.tolist(),
            },
            "own": own.tolist(),
            "states": self.states_before(number, drawn, rank),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned, with the number ``composed``."""
        self.plans = {number: plan for number, plan in enumerate(state["plans"], state["composed"]) if plan}
        self._before.clear()
        self.drawn = np.array(state["shards"]["drawn"], dtype=np.int64)
        self.lengths = np.array(state["shards"]["lengths"], dtype=np.int64)
        self._known_from = np.array(state["shards"].get("known_from", 0 * self.lengths), dtype=np.int64)
        self.own = np.array(state["own"], dtype=np.int64)
        self._states = {(source, shard): deque([state], maxlen=3) for source, shard, state in state["states"]}


def _take(drawn: list[int], lengths: list[int], shard: int, count: int) -> list[Segment]:
    """Take samples of a source, counted in ``drawn``: from the shards with the fewest passes first, in turn."""
    turn = [*range(shard, len(drawn)), *range(shard)] if max(lengths) > 0 else [shard]
    segments = []
    while count:
        passes = [drawn[each] // lengths[each] if lengths[each] > 0 else 0 for each in turn]
        chosen = turn[passes.index(min(passes))]
        length = lengths[chosen]
        part = min(count, length - drawn[chosen] % length) if length > 0 else count
        segments.append((chosen, drawn[chosen], part))
        drawn[chosen] += part
        count -= part
    return segments


def _is_plain(value: Any) -> bool:
    """Whether ``torch.load(weights_only=True)`` reads a value back."""
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str, bytes, torch.Tensor)
