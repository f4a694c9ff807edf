"""Shared memory between the loop that trains and the workers that compose its batches.

The loop writes mixes and what was observed, each worker writes what it composed, and nobody waits for anybody.
Everything that an iteration begins with was written in iterations before it: what is written meanwhile goes to the
other of two halves. So workers that start late, or end late, see what the others saw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from learn2mix.checks import Vector

    Record = NDArray[np.void]

__all__ = ["MAX_WORKERS", "Board"]

MAX_WORKERS = 64
NUM_MIXES = 256  # that a worker can look back on
NUM_SLOTS = 1024  # for composed batches, over all workers
KEY_BITS = 39  # of a word; the other 24 number the iteration
RUNNING = -1


def layout(num_groups: int) -> np.dtype[np.void]:
    """Return the structure of the board: a few KiB and 90 KiB a group."""
    whole, shares = (np.int64, (num_groups,)), (np.float64, (num_groups,))
    position = [(name, np.int64) for name in ("iteration", "num_shards", "epoch", "batches", "in_epoch")]
    position += [("resumed", np.int64), ("ended", np.int64)]
    position += [("draws", *whole), ("lengths", *whole), ("credit", *shares)]  # type: ignore[list-item]
    batch = [("iteration", np.int64), ("turn", np.int64), ("place", np.int64), ("mix", np.int64)]
    batch += [("counts", *whole), ("proportions", *shares), ("position", position)]  # type: ignore[list-item]
    return np.dtype(
        [
            ("words", np.int64, (MAX_WORKERS + 1,)),  # iteration and key of each worker, and of loaded states
            ("num_workers", np.int64, (2,)),
            ("heads", np.int64, (2, MAX_WORKERS)),  # batches composed in the iteration
            ("ends", np.int64, (2, MAX_WORKERS)),  # and in all of it, once known
            ("num_mixes", np.int64),
            ("mixes", [("made", np.int64), ("iteration", np.int64), ("proportions", *shares)], (NUM_MIXES,)),
            ("batches", batch, (2, NUM_SLOTS)),
            ("composed", position, (2, MAX_WORKERS)),
            ("observed", position, (2, MAX_WORKERS)),
            ("observing_since", np.int64),
            ("loaded", np.int64),
            ("held", np.int64),
        ]
    )


class Board:
    """What the loop and its workers know of each other.

    An *iteration* is one ``iter(loader)``, numbered from 1. A *position* is where a shard is: batches over all
    iterations and in its epoch, draws of each source, and the credit of each group.

    Args:
        num_groups: how many there are.

    Example:
        >>> board = Board(num_groups=2)
        >>> board.add_mix(np.array([0.5, 0.5]), made=0, iteration=0)
        >>> board.add_mix(np.array([0.9, 0.1]), made=8, iteration=1)
        >>> board.find_mix(iteration=1, observed=7)
        (0, array([0.5, 0.5]))
    """

    def __init__(self, num_groups: int) -> None:
        kind = layout(num_groups)
        self.__setstate__((num_groups, torch.zeros(kind.itemsize, dtype=torch.uint8)))
        self._table["observing_since"] = RUNNING

    def __getstate__(self) -> tuple[int, torch.Tensor]:
        return self._num_groups, self._memory

    def __setstate__(self, state: tuple[int, torch.Tensor]) -> None:
        self._num_groups, self._memory = state
        if not self._memory.is_shared():  # type: ignore[no-untyped-call]
            self._memory.share_memory_()  # type: ignore[no-untyped-call]
        self._table: Any = self._memory.numpy().view(layout(self._num_groups))[0]
        # Fields as arrays, for they are read and written with every batch.
        self._words, self._mixes = self._table["words"], self._table["mixes"]
        self._heads, self._ends, self._batches = self._table["heads"], self._table["ends"], self._table["batches"]

    # ------------------------------------------------------------------ iterations

    @property
    def iteration(self) -> int:
        """The newest one."""
        return int(self._words.max()) >> KEY_BITS

    def begin(self, worker: int, num_workers: int, key: int | None) -> int:
        """Register a worker in an iteration, and return its number.

        Args:
            worker: which one.
            num_workers: of how many; 0 for the process that trains.
            key: what the workers of one iteration have in common; None where there is but one.
        """
        words, key = self._words.copy(), (0 if key is None else 1 + key % ((1 << KEY_BITS) - 1))
        iterations = words >> KEY_BITS
        # A word is written at once, so a sibling is either seen whole or has seen no more than this worker.
        siblings = (words & ((1 << KEY_BITS) - 1) == key) & (iterations > iterations[worker]) & (key > 0)
        iteration = int(iterations[siblings].max()) if siblings.any() else int(iterations.max()) + 1
        half = iteration % 2
        self._heads[half, worker], self._ends[half, worker] = 0, RUNNING
        self._table["num_workers"][half] = num_workers
        self._words[worker] = iteration << KEY_BITS | key
        return iteration

    def num_workers(self, iteration: int) -> int:
        """Worker processes of an iteration; 0 where the process that trains composes."""
        return int(self._table["num_workers"][iteration % 2])

    def heads(self, iteration: int) -> NDArray[np.int64]:
        """Batches composed in an iteration so far, by each worker that takes part, shape ``(num_workers,)``."""
        num_workers = max(1, self.num_workers(iteration))
        began = self._words[:num_workers] >> KEY_BITS == iteration
        heads: NDArray[np.int64] = np.where(began, self._heads[iteration % 2, :num_workers], 0)
        return heads

    def ends(self, iteration: int) -> NDArray[np.int64]:
        """Batches of each worker in all of an iteration, shape ``(num_workers,)``; RUNNING where not yet known."""
        num_workers = max(1, self.num_workers(iteration))
        began = self._words[:num_workers] >> KEY_BITS == iteration
        ends: NDArray[np.int64] = np.where(began, self._ends[iteration % 2, :num_workers], RUNNING)
        return ends

    def end(self, iteration: int, worker: int) -> None:
        """Say that a worker's sources have ended."""
        self._ends[iteration % 2, worker] = self._heads[iteration % 2, worker]

    def place(self, iteration: int, worker: int, turn: int) -> int:
        """Return how many batches of an iteration come before a worker's batch of this number."""
        ends = self.ends(iteration)
        before = np.where(np.arange(len(ends)) < worker, turn + 1, turn)
        return int(np.where(ends == RUNNING, before, np.minimum(before, ends)).sum())

    # ------------------------------------------------------------------ batches

    def new_batch(self) -> Record:
        """Return an empty record of a batch."""
        return np.zeros((), dtype=self._batches.dtype)

    def publish(self, worker: int, shard: int, batch: Record) -> None:
        """Show a composed batch to the loop; before it is sent."""
        half, turn = int(batch["iteration"]) % 2, int(batch["turn"])
        self._batches[half, self._slot(int(batch["iteration"]), worker, turn)] = batch
        self.write("composed", shard, batch["position"])
        self._heads[half, worker] = turn + 1

    def batch(self, iteration: int, worker: int, turn: int) -> Record | None:
        """Return the record of a composed batch; None where a newer one took its place."""
        batch: Record = self._batches[iteration % 2, self._slot(iteration, worker, turn)].copy()
        return batch if int(batch["iteration"]) == iteration and int(batch["turn"]) == turn else None

    def _slot(self, iteration: int, worker: int, turn: int) -> int:
        depth = NUM_SLOTS // max(1, self.num_workers(iteration))
        return worker * depth + turn % depth

    # ------------------------------------------------------------------ mixes

    @property
    def num_mixes(self) -> int:
        """Mixes made so far."""
        return int(self._table["num_mixes"])

    def add_mix(self, proportions: Vector, made: int, iteration: int) -> None:
        """Show a mix to the workers.

        Args:
            proportions: the mix, shape ``(num_groups,)``.
            made: batches observed by then.
            iteration: in which it was made.
        """
        count = self.num_mixes
        self._mixes[count % NUM_MIXES] = (made, iteration, proportions)
        self._table["num_mixes"] = count + 1  # only now, so that no worker sees half a mix

    def find_mix(self, iteration: int, observed: int) -> tuple[int, Vector]:
        """Return number and proportions of the newest mix that a batch may follow.

        Args:
            iteration: of the batch; what was made before it may be followed,
            observed: and what was made by the time that this many batches had been observed.
        """
        count = self.num_mixes
        number = count - 1
        oldest = max(count - NUM_MIXES + 1, 0)  # but for one, which may be being written
        while number > oldest:
            mix = self._mixes[number % NUM_MIXES]
            if mix["made"] <= observed or mix["iteration"] < iteration:
                break
            number -= 1
        return number, self._mixes[number % NUM_MIXES]["proportions"].copy()

    def mixes_since(self, number: int) -> Record:
        """Return the mixes from this number on."""
        mixes: Record = self._mixes[np.arange(number, self.num_mixes) % NUM_MIXES]
        return mixes

    # ------------------------------------------------------------------ positions

    def positions(self, before: int) -> Record:
        """Return where each shard was before an iteration, shape ``(MAX_WORKERS,)``.

        Of what was observed, if the loop observed anything by then; else of what was composed.
        """
        halves = self._table["observed" if 0 <= self.observing_since < before else "composed"]
        tags = halves["iteration"].copy()  # read once, for the other half is being written
        tags[tags >= before] = -1
        positions: Record = halves[tags.argmax(axis=0), np.arange(MAX_WORKERS)]
        return positions

    def new_positions(self) -> Record:
        """Return empty positions, shape ``(MAX_WORKERS,)``."""
        return np.zeros(MAX_WORKERS, dtype=self._batches.dtype["position"])

    def write(self, kind: str, shard: int, position: Record) -> None:
        """Note where a shard is, as of the iteration that the position names.

        Args:
            kind: ``"observed"`` or ``"composed"``.
            shard: which one.
            position: of this shard.
        """
        table, iteration = self._table[kind], int(position["iteration"])
        first, second = table["iteration"][:, shard].tolist()
        newest, half = max(first, second), int(second > first)
        if newest <= iteration:  # else from a worker that was replaced
            # Into the half of this iteration, or the older one: for the other is where this iteration begins.
            table[half if newest == iteration else 1 - half, shard] = position

    def write_all(self, kind: str, positions: Record) -> None:
        """Do so for the first shards, as many as there are positions."""
        for shard, position in enumerate(positions):
            self.write(kind, shard, position)

    @property
    def observing_since(self) -> int:
        """The iteration in which the loop began to observe; RUNNING where it has not."""
        return int(self._table["observing_since"])

    @observing_since.setter
    def observing_since(self, iteration: int) -> None:
        self._table["observing_since"] = iteration

    @property
    def held(self) -> int:
        """Batches that the loop fetches before it observes the last."""
        return int(self._table["held"])

    @held.setter
    def held(self, count: int) -> None:
        self._table["held"] = count

    @property
    def loaded(self) -> int:
        """The iteration as which a state was loaded last, 0 for none."""
        return int(self._table["loaded"])

    def load(self, positions: Record, iteration: int) -> None:
        """Begin an iteration that is nothing but loaded positions, so that all before it are out of date."""
        self._table["loaded"] = iteration
        for kind in ("observed", "composed"):
            self.write_all(kind, positions)
        self._table["num_workers"][iteration % 2] = 0
        self._words[MAX_WORKERS] = iteration << KEY_BITS
