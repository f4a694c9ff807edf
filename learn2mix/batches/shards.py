"""What a worker does for a stream: it composes the batches of its shard, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from learn2mix.functional import apportion_owed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from learn2mix.batches.board import Board, Record
    from learn2mix.batches.sources import Reader
    from learn2mix.checks import Counts, Vector

__all__ = ["EndedError", "Shard", "Start", "find_start"]


class EndedError(Exception):
    """A source has ended before it could fill its part of a batch."""


class Start(NamedTuple):
    """Where an iteration begins."""

    first: int  # batches before it
    epoch: int
    shard: int  # of its first batch
    positions: Record  # of all shards, shape (num_shards,)


def find_start(board: Board, iteration: int, num_shards: int, stops: bool) -> Start:
    """Return where an iteration begins: the same for all that ask, whenever they do.

    Args:
        board: with what was before.
        iteration: which one.
        num_shards: shards of this process, one a worker.
        stops: whether each epoch reads the sources from their beginning; else the stream goes on.

    Raises:
        ValueError: if the stream goes on from positions of another number of shards.
    """
    positions = board.positions(before=iteration)
    first, epoch = int(positions["batches"].sum()), int(positions["epoch"].max())
    newest = positions["iteration"] == positions["iteration"].max()
    resumed = bool(positions["resumed"][newest].any())
    others = positions["num_shards"][(positions["batches"] > 0) & (positions["num_shards"] != num_shards)]
    if len(others) and (resumed or not stops):
        raise ValueError(
            f"num_workers: the stream goes on where {others[0]} workers left it, each in a shard of its own, but now "
            f"there are {num_shards}; use as many as before (0 counts as 1) or make a new MixedStream"
        )
    shard = _next_shard(positions["in_epoch"][:num_shards]) if stops else first % num_shards
    if not resumed:
        epoch += bool(positions["in_epoch"][positions["epoch"] == epoch].any())
        positions["in_epoch"] = positions["ended"] = 0
        if stops:
            shard = 0
            positions["draws"] = positions["lengths"] = 0
            positions["credit"] *= len(others) == 0
    positions = positions[:num_shards]
    positions["iteration"], positions["epoch"] = iteration, epoch
    positions["num_shards"], positions["resumed"] = num_shards, 0
    return Start(first, epoch, shard, positions)


def _next_shard(batches: Counts) -> int:
    """Return the shard after the last one that gave a batch; some may have ended before it."""
    last = int(np.flatnonzero(batches == batches.max())[-1])
    return (last + 1) % len(batches)


class Shard:
    """Composes batches of one shard of each source.

    Args:
        number: which shard.
        readers: of the sources.
        position: where to begin.

    Attributes:
        position: where it is; changed only by a batch that is whole.
    """

    def __init__(self, number: int, readers: Sequence[Reader], position: Record) -> None:
        self.number, self.position = number, position.copy()
        self._readers = readers
        for reader, draws, length in zip(
            readers, position["draws"].tolist(), position["lengths"].tolist(), strict=True
        ):
            reader.skip(draws, length)

    @property
    def ended(self) -> bool:
        """Whether every source was drawn to its end."""
        return all(reader.ended for reader in self._readers)

    def waits_for(self, proportions: Vector) -> list[Any]:
        """Return the names of the sources that were not drawn to their end, if this mix gives none of them a share."""
        with_share = [reader for reader, share in zip(self._readers, proportions, strict=True) if share > 0]
        if not all(reader.ended for reader in with_share):
            return []
        return [reader.name for reader in self._readers if not reader.ended]

    def compose(self, proportions: Vector, batch_size: int) -> tuple[list[Any], Counts]:
        """Draw the next batch.

        Args:
            proportions: the mix to follow, shape ``(num_groups,)``.
            batch_size: samples in the batch.

        Returns:
            The samples, group after group, and how many there are of each, shape ``(num_groups,)``.

        Raises:
            EndedError: if a source that the batch needs has ended.
            RuntimeError, ValueError: as :meth:`Source.read` does.
        """
        owed = self.position["credit"] + proportions * batch_size
        counts = apportion_owed(owed, batch_size)
        samples: list[Any] = []
        for reader, count in zip(self._readers, counts.tolist(), strict=True):
            if count:
                drawn = reader.draw(count)
                if len(drawn) < count:
                    raise EndedError(f"{reader} has {len(drawn)} samples left, but the batch needs {count}")
                samples += drawn
        self.position["credit"] = owed - counts
        self.position["draws"] += counts
        self.position["lengths"] = [reader.length for reader in self._readers]
        self.position["batches"] += 1
        self.position["in_epoch"] += 1
        return samples, counts

    def is_at(self, number: int, position: Record) -> bool:
        """Whether it may go on from this position without reading anything again."""
        same = self.number == number and self.position["num_shards"] == position["num_shards"]
        return bool(same and np.array_equal(self.position["draws"], position["draws"]))
