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
    another waits, and the others take over. Until the length of a shard is known, its batches may run into its next
    pass.

    Attributes:
        drawn: samples of each shard in the batches planned so far, shape ``(num_sources, num_shards)``; replaced and
            not written to, so that it can be gone back to.
        lengths: samples in each shard, same shape; -1 where not known.
        used: False once it is known that no source is split so.
    """

    def __init__(self, num_sources: int) -> None:
        self.drawn: NDArray[np.int64] = np.zeros((num_sources, 1), dtype=np.int64)
        self.lengths: NDArray[np.int64] = np.full((num_sources, 1), -1)
        self.used = True

    @property
    def num_shards(self) -> int:
        """Shards of each source."""
        return int(self.drawn.shape[1])

    def split(self, num_shards: int) -> None:
        """Split the sources into this many shards, where nothing was read yet; else they stay as they are."""
        if num_shards != self.num_shards and not self.drawn.any():
            self.drawn = np.zeros((len(self.drawn), num_shards), dtype=np.int64)
            self.lengths = np.full_like(self.drawn, -1)

    def learn(self, lengths: dict[tuple[int, int], int]) -> None:
        """Note lengths, by source and shard."""
        for key, length in lengths.items():
            self.lengths[key] = max(length, int(self.lengths[key]))

    def sizes(self) -> NDArray[np.int64]:
        """Return the samples of each source, shape ``(num_sources,)``; -1 where not known."""
        return np.where((self.lengths >= 0).all(axis=1), self.lengths.sum(axis=1), -1)

    def plan(self, number: int, counts: NDArray[np.int64], again: Any = None) -> list[list[Segment]] | None:
        """Return what a batch reads of each source, and count it as drawn; None where each source is one shard.

        ``again`` is what was planned for this batch before a stop.
        """
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


class SourceStates:
    """States of sources that have one, to go on without reading again: the newest of each source, or of its shards."""

    def __init__(self) -> None:
        self.newest: dict[tuple[int, int], deque[dict[str, Any]]] = {}  # by source and shard

    def learn(self, states: dict[tuple[int, int], dict[str, Any]], max_ahead: int) -> None:
        """Keep states, as many as batches may be taken back."""
        for key, state in states.items():
            if _is_plain(state):
                self.newest.setdefault(key, deque(maxlen=max_ahead + 3)).append(state)

    def before(self, drawn: Any, own: Any, by_shard: Any) -> dict[tuple[int, int], dict[str, Any]]:
        """Return the newest states that are not beyond where the sources are to go on.

        Args:
            drawn: samples drawn of each source, over all processes, shape ``(num_sources,)``.
            own: by this process, shape ``(num_sources,)``.
            by_shard: of each shard, shape ``(num_sources, num_shards)``.
        """
        found = {}
        for (source, shard), states in self.newest.items():
            at = int(min(drawn[source], own[source]) if shard == WHOLE else by_shard[source][shard])
            fitting = [state for state in states if state["number"] <= at]
            if fitting:
                found[source, shard] = max(fitting, key=lambda state: int(state["number"]))
        return found

    def state_dict(self, drawn: Any, own: Any, by_shard: Any) -> list[Any]:
        """Return what :meth:`before` finds, as a list of source, shard and state."""
        return [[source, shard, state] for (source, shard), state in self.before(drawn, own, by_shard).items()]

    def load_state_dict(self, states: list[Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.newest = {(source, shard): deque([state], maxlen=3) for source, shard, state in states}


def _is_plain(value: Any) -> bool:
    """Whether ``torch.load(weights_only=True)`` reads a value back."""
    if isinstance(value, dict):
        return all(_is_plain(key) and _is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str, bytes, torch.Tensor)
