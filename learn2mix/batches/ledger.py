"""The part of a stream that stays with the loop: which of the composed batches were observed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from learn2mix.batches.board import RUNNING
from learn2mix.batches.shards import Start, find_start

if TYPE_CHECKING:
    from learn2mix.batches.board import Board, Record

__all__ = ["Ledger"]

STORED = ("num_shards", "epoch", "batches", "in_epoch", "ended", "draws", "credit")  # the same on every process


class Ledger:
    """Knows the batches that wait to be observed, in the order in which a ``DataLoader`` hands them out.

    The batches of a worker come in order, and the workers take turns, without those that have ended: so the next is
    that of the first worker, from the one whose turn it is, that has composed one more.

    Args:
        board: where workers show their batches.
        stops: whether each epoch reads the sources from their beginning.

    Attributes:
        observed: batches observed, over all iterations.
        epoch: which one it is, from 0.
    """

    def __init__(self, board: Board, stops: bool) -> None:
        self._board, self._stops = board, stops
        self.observed = self.epoch = 0
        self._entered = self._turn = 0  # the iteration, and the worker whose turn it is
        self._start: Start | None = None  # of that iteration
        self._seen = np.zeros(1, dtype=np.int64)  # batches of each worker that were observed in it

    @property
    def lag(self) -> int:
        """Batches composed but not yet observed, of the newest iteration."""
        iteration = self._board.iteration
        seen = int(self._seen.sum()) if iteration == self._entered else 0
        return int(self._board.heads(iteration).sum()) - seen

    def catch_up(self) -> bool:
        """Turn to the newest iteration; return whether an epoch ended before it."""
        iteration = self._board.iteration
        if iteration == self._entered:
            return False
        num_shards = max(1, self._board.num_workers(iteration))
        self._start = find_start(self._board, iteration, num_shards, self._stops)
        self._entered, self._turn = iteration, 0
        self._seen = np.zeros(num_shards, dtype=np.int64)
        self.observed = self._start.first
        self._board.write_all("observed", self._start.positions)
        ended, self.epoch = self._start.epoch > self.epoch, self._start.epoch
        return ended

    def oldest(self) -> tuple[int, Record]:
        """Return the oldest batch not yet observed, and its worker.

        Raises:
            ValueError: if there is none.
            RuntimeError: if so many wait that newer ones took its place.
        """
        heads = self._board.heads(self._entered)
        for step in range(len(heads)):
            worker = (self._turn + step) % len(heads)
            if heads[worker] > self._seen[worker]:
                batch = self._board.batch(self._entered, worker, int(self._seen[worker]))
                if batch is None:
                    raise RuntimeError(f"too many batches wait to be observed ({self.lag}): observe each, or none")
                return worker, batch
        raise ValueError("losses: every batch composed so far was observed; call observe once for each batch")

    def is_late(self, batch: Record, ahead: int) -> bool:
        """Whether a batch follows an older mix than it should, for it was asked for too early.

        Args:
            batch: one of the iteration entered.
            ahead: batches that are asked for before the losses of a batch come back.
        """
        assert self._start is not None  # there are batches of it
        limit = int(batch["place"]) - ahead
        return limit >= self._start.first and int(batch["mix"]) < self._board.find_mix(self._entered, limit)[0]

    def take(self, worker: int, batch: Record) -> None:
        """Count the oldest batch as observed."""
        self._seen[worker] += 1
        self._turn = worker + 1
        self.observed += 1
        assert self._start is not None  # there are batches of it
        shard = (self._start.shard + worker) % len(self._seen)
        self._board.write("observed", shard, batch["position"])

    def finish_epoch(self) -> bool:
        """End the epoch here; return False where no batch of it was trained on."""
        positions = self._positions()
        if not positions["in_epoch"].any():
            return False
        _close(positions)
        positions["iteration"] = self._board.iteration
        for kind in ("observed", "composed"):
            self._board.write_all(kind, positions)
        self.epoch = int(positions["epoch"].max())
        return True

    def _positions(self) -> Record:
        """Return where each shard is; batches in the epoch are those of the newest epoch only."""
        positions = self._board.positions(before=self._board.iteration + 1)
        positions["in_epoch"] *= positions["epoch"] == positions["epoch"].max()
        return positions

    # ------------------------------------------------------------------ state

    def state_dict(self, ahead: int) -> dict[str, Any]:
        """Return where each shard is, and the mixes that batches not yet observed are to follow.

        Args:
            ahead: batches that are asked for before the losses of a batch come back.
        """
        positions, oldest = self._positions(), self._board.num_mixes - 1
        if self._stops and self._start is not None:
            self._mark_ended(positions, self._start)
        if positions["in_epoch"].any():
            begun = self._start is not None
            oldest = self._board.find_mix(self._entered + (not begun), self.observed - ahead if begun else -1)[0]
        positions = positions[: 1 + np.flatnonzero(positions["batches"]).max(initial=0)]
        mixes = self._board.mixes_since(oldest)
        stored = {name: torch.from_numpy(positions[name].copy()) for name in STORED}
        made, proportions = (torch.from_numpy(mixes[name].copy()) for name in ("made", "proportions"))
        return stored | {"made": made, "mixes": proportions}

    def _mark_ended(self, positions: Record, start: Start) -> None:
        """Note the shards of which all batches were observed; where that are all, the epoch has ended."""
        heads, ends = self._board.heads(self._entered), self._board.ends(self._entered)
        ended = (ends != RUNNING) & ((heads == self._seen) | (self._board.observing_since == RUNNING))
        shards = (start.shard + np.arange(len(ended))) % len(ended)
        positions["ended"][shards] = ended
        if ended.all() and positions["in_epoch"].any():
            _close(positions)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned; every iteration so far is out of date."""
        iteration = self._board.iteration + 1
        positions = self._board.new_positions()
        for name in STORED:
            positions[name][: len(state[name])] = state[name].numpy()
        positions["iteration"], positions["epoch"] = iteration, positions["epoch"].max()
        positions["resumed"] = positions["in_epoch"].any()
        for number, (made, mix) in enumerate(zip(state["made"].tolist(), state["mixes"].numpy(), strict=True)):
            # Those after the first are news to the iteration that comes, as they were to the one that was stopped.
            self._board.add_mix(mix, made, iteration + (number > 0))
        self._board.load(positions, iteration)
        self.observed, self.epoch = int(positions["batches"].sum()), int(positions["epoch"].max())
        self._entered, self._turn, self._start = iteration, 0, None
        self._seen = np.zeros(1, dtype=np.int64)


def _close(positions: Record) -> None:
    """End the epoch that these positions are in."""
    positions["epoch"] = positions["epoch"].max() + 1
    positions["in_epoch"] = positions["resumed"] = positions["ended"] = 0
