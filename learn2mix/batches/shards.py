"""Which part of which shard each batch reads: planned in the process that trains, the same on every process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learn2mix.checks import Counts

    Table = NDArray[np.int64]

__all__ = ["Segment", "Shards"]

Segment = tuple[int, int, int]  # shard, number of the first sample in its endless passes, samples


class Shards:
    """How far each shard of each source is read, over all processes.

    Batch ``n`` reads from shard ``n % num_shards``, which is that of one worker. A shard that is a pass ahead of
    another waits, and the others take over. Until the length of a shard is known, its batches may run into its next
    pass.

    Attributes:
        drawn: samples of each shard in the batches planned so far, shape ``(num_sources, num_shards)``; replaced and
            not written to, so that it can be gone back to.
        lengths: samples in each shard, same shape; -1 where not known.
    """

    def __init__(self, num_sources: int) -> None:
        self.drawn: Table = np.zeros((num_sources, 1), dtype=np.int64)
        self.lengths: Table = np.full((num_sources, 1), -1)
        self.used = True  # False once it is known that no source is split so

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
        """Note lengths, by source and shard; -1 where still not known."""
        for (source, shard), length in lengths.items():
            self.lengths[source, shard] = max(length, int(self.lengths[source, shard]))

    def sizes(self) -> Counts:
        """Return the samples of each source, shape ``(num_sources,)``; -1 where not known."""
        return np.where((self.lengths >= 0).all(axis=1), self.lengths.sum(axis=1), -1)

    def plan(self, number: int, counts: Counts) -> list[list[Segment]] | None:
        """Say what a batch reads of each source, and count it as drawn; None where each source is one shard."""
        if self.num_shards == 1 or not self.used:
            self.drawn = self._count(counts)
            return None
        self.drawn = self.drawn.copy()
        shard = number % self.num_shards
        known = np.any(self.lengths >= 0, axis=1).tolist()
        segments: list[list[Segment]] = []
        for source, (count, is_known) in enumerate(zip(counts.tolist(), known, strict=True)):
            if is_known:
                segments.append(self._plan(source, shard, count))
            else:
                segments.append([(shard, int(self.drawn[source, shard]), count)] if count else [])
                self.drawn[source, shard] += count
        return segments

    def _plan(self, source: int, shard: int, count: int) -> list[Segment]:
        """Plan for a source once a shard's length is known: read the shards with the fewest passes first."""
        drawn, lengths = self.drawn[source], self.lengths[source]
        segments = []
        while count:
            passes = np.where(lengths > 0, drawn // np.maximum(lengths, 1), 0)
            passes[lengths == 0] = np.iinfo(np.int64).max  # an empty shard is never read
            turn = [(shard + step) % len(drawn) for step in range(len(drawn))]
            chosen = next(candidate for candidate in turn if passes[candidate] == passes.min())
            length = int(lengths[chosen])
            part = count if length <= 0 else min(count, length - int(drawn[chosen]) % length)
            segments.append((chosen, int(drawn[chosen]), part))
            drawn[chosen] += part
            count -= part
        return segments

    def repeat(self, segments: list[list[Segment]], counts: Counts) -> None:
        """Count as drawn what was planned for a batch before a stop."""
        if not segments:
            self.drawn = self._count(counts)
            return
        self.drawn = self.drawn.copy()
        for source, parts in enumerate(segments):
            for shard, _, count in parts:
                self.drawn[source, shard] += count

    def _count(self, counts: Counts) -> Table:
        """Return the draws with those of a batch, all of one shard, where it does not matter of which."""
        drawn: Table = self.drawn.copy()
        drawn[:, 0] += counts
        return drawn

    def state_dict(self, drawn: Table) -> dict[str, Any]:
        """Return a position and the lengths as lists."""
        return {"drawn": drawn.tolist(), "lengths": self.lengths.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.drawn = np.array(state["drawn"], dtype=np.int64)
        self.lengths = np.array(state["lengths"], dtype=np.int64)
