"""How far the shards of the sources are read, planned where the batches are composed, and states to go on from."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

WHOLE = -1  # in the place of a shard: the source in the order that every reader sees

Segment = tuple[int, int, int]  # shard, number of the first sample in its endless passes, samples


class Shards:
    """How far each shard of each source is read, over all processes; the same on every process.

    Batch ``n`` reads from shard ``n % num_shards``, which is that of one worker. A shard that is a pass ahead of
    another waits, and the others take over, once a length is known.

    Attributes:
        drawn: samples of each shard in the batches planned so far, shape ``(num_sources, num_shards)``; replaced and
            not written to, so that it can be gone back to.
        lengths: samples in each shard, same shape; -1 where not known.
        used: False once it is known that no source is split so.
        states: of sources that have one: the newest, by source and shard, to go on from without reading again.
    """

    def __init__(self, num_sources: int) -> None:
        self.drawn: NDArray[np.int64] = np.zeros((num_sources, 1), dtype=np.int64)
        self.lengths: NDArray[np.int64] = np.full((num_sources, 1), -1)
        self.used = True
        self.states: dict[tuple[int, int], deque[dict[str, Any]]] = {}

    @property
    def num_shards(self) -> int:
        """Shards of each source."""
        return int(self.drawn.shape[1])

    def split(self, num_shards: int) -> None:
        """Split the sources into this many shards, where nothing was read yet; else they stay as they are."""
        if num_shards != self.num_shards and not self.drawn.any():
            self.drawn = np.zeros((len(self.drawn), num_shards), dtype=np.int64)
            self.lengths = np.full_like(self.drawn, -1)

    def learn(self, source: int, shard: int, length: int | None, state: Any, max_ahead: int) -> None:
        """Note a length, if it is known, and a state that can be saved; as many as batches may be taken back."""
        if length is not None and shard != WHOLE:
            self.lengths[source, shard] = max(length, int(self.lengths[source, shard]))
        if state is not None and _is_plain(state):
            self.states.setdefault((source, shard), deque(maxlen=max_ahead + 3)).append(state)

    def states_before(self, drawn: Any, own: Any, by_shard: Any) -> list[Any]:
        """Return the newest states, as source, shard and state, that are not beyond where the sources are to go on.

        That is after the samples drawn by all processes and by this one, both shape ``(num_sources,)``, and by shard.
        """
        found = []
        for (source, shard), states in self.states.items():
            at = int(min(drawn[source], own[source]) if shard == WHOLE else by_shard[source][shard])
            fitting = [state for state in states if state["number"] <= at]
            if fitting:
                found.append([source, shard, max(fitting, key=lambda state: int(state["number"]))])
        return found

    def load_states(self, states: list[Any]) -> None:
        """Restore what :meth:`states_before` returned."""
        self.states = {(source, shard): deque([state], maxlen=3) for source, shard, state in states}

    def plan(self, number: int, counts: NDArray[np.int64], again: Any = None) -> list[list[Segment]] | None:
        """Return what a batch reads of each source (``again``, if given), and count it; None if there are no shards."""
        self.drawn = self.drawn.copy()
        if again is not None:
            for source, segments in enumerate(again):
                for shard, _, count in segments:
                    self.drawn[source, shard] += count
            return again  # type: ignore[no-any-return]
        if self.num_shards == 1 or not self.used:
            self.drawn[:, 0] += counts
            return None
        drawn, lengths = self.drawn.tolist(), self.lengths.tolist()
        shard = number % self.num_shards
        planned = [_take(drawn[n], lengths[n], shard, count) for n, count in enumerate(counts.tolist())]
        self.drawn = np.array(drawn, dtype=np.int64)
        return planned


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
