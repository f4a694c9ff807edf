"""The part of a stream that goes to the workers."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from torch.utils.data import get_worker_info

from learn2mix.batches.board import MAX_WORKERS, Board
from learn2mix.batches.shards import EndedError, Shard, find_start
from learn2mix.batches.sources import Reader
from learn2mix.checks import as_proportions
from learn2mix.feedback.processes import Processes
from learn2mix.mixers.base import Mixer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from learn2mix.batches.board import Record
    from learn2mix.batches.sources import Source
    from learn2mix.checks import Vector

__all__ = ["Composer"]


class Composer:
    """Composes the batches of an iteration, in a worker or in the process that trains.

    Args:
        sources: the groups.
        mixer: attached to them.
        board: to read the mixes from, and to show the batches on.
        processes: which of them this is.
        batch_size: samples a batch.
        seed: of the shuffling.
        on_exhausted: ``"restart"``, ``"stop_first"`` or ``"stop_all"``.
        collate: makes a batch of a list of samples.
        prefetch_factor: batches that the loader asks of each worker ahead.
        shuffle_buffer: samples of each source from which to draw at random.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        mixer: Mixer,
        board: Board,
        processes: Processes,
        *,
        batch_size: int,
        seed: int,
        on_exhausted: str,
        collate: Callable[[list[Any]], Any],
        prefetch_factor: int,
        shuffle_buffer: int,
    ) -> None:
        self.sources, self.mixer, self.board, self.processes = sources, mixer, board, processes
        self.batch_size, self.seed, self.on_exhausted = batch_size, seed, on_exhausted
        self.collate, self.prefetch_factor, self.shuffle_buffer = collate, prefetch_factor, shuffle_buffer
        self.loaded = 0  # the iteration as which a state was loaded, when this process was started
        self._num_iterations = 0  # of this worker process
        self._live: Shard | None = None  # of the last iteration in this process

    def __getstate__(self) -> dict[str, Any]:
        # In a worker that is spawned torch.distributed is not set up.
        processes = Processes(self.processes.num_replicas, self.processes.rank)
        return self.__dict__ | {"_live": None, "processes": processes}

    @property
    def stops(self) -> bool:
        """Whether each epoch reads the sources from their beginning."""
        return self.on_exhausted != "restart"

    @property
    def knows_mixes(self) -> bool:
        """Whether a worker's copy of the mixer finds each mix by itself, for it follows nothing but progress."""
        return self.mixer.follows_progress and not self.mixer.needs_losses

    def ahead(self, num_workers: int) -> int:
        """Return how many batches are asked for before the losses of a batch come back."""
        return self.prefetch_factor * num_workers + self.board.held

    def mix(self) -> Vector:
        """Return the mixer's mix of the moment, checked."""
        mix = self.mixer.proportions
        if not self._computed:
            return mix  # checked when it was assigned, and read-only
        return as_proportions(mix, len(self.sources), f"{type(self.mixer).__name__}.proportions")

    @property
    def _computed(self) -> bool:
        """Whether the mixer computes its mix when it is read."""
        return type(self.mixer).proportions is not Mixer.proportions

    def begin(self) -> tuple[int, int, int]:
        """Register in an iteration; return its number, which worker this is, and of how many (0: of none)."""
        worker = get_worker_info()
        if worker is None:
            return self.board.begin(0, 0, None), 0, 0
        if worker.num_workers > MAX_WORKERS:
            raise ValueError(f"num_workers must be at most {MAX_WORKERS} with a MixedStream, got {worker.num_workers}")
        # Started before a state was loaded, for an iterator that nobody waits for.
        late = self._num_iterations == 0 and self.loaded < self.board.loaded
        self._num_iterations += 1
        key = hash((worker.seed - worker.id, self._num_iterations))  # the same in all workers of an iteration
        iteration = 0 if late else self.board.begin(worker.id, worker.num_workers, key)
        return iteration, worker.id, worker.num_workers

    def batches(self, iteration: int, worker: int, num_workers: int) -> Iterator[Any]:
        """Compose the batches of one worker, each when it is asked for.

        Raises:
            ValueError, RuntimeError: as :class:`MixedStream` says.
        """
        self._refuse_old(iteration)
        start = find_start(self.board, iteration, max(1, num_workers), self.stops)
        number = (start.shard + worker) % len(start.positions)
        position = start.positions[number]
        self.board.write("composed", number, position)
        shard, ended = None if position["ended"] else self._open(number, position), None
        for turn in count():
            self._refuse_old(iteration)
            if shard is None or (self.on_exhausted == "stop_all" and shard.ended):
                break
            place = start.first + self.board.place(iteration, worker, turn)
            mix, proportions = self._find_mix(iteration, place, start.epoch, num_workers)
            if self.on_exhausted == "stop_all" and self._stands_still:
                _refuse_to_wait(shard.waits_for(proportions))
            self._live = None  # should a source fail, it is read anew
            try:
                samples, counts = shard.compose(proportions, self.batch_size)
            except EndedError as error:
                ended = error
                break
            self._live = shard
            batch = self.board.new_batch()
            batch["iteration"], batch["turn"], batch["place"], batch["mix"] = iteration, turn, place, mix
            batch["counts"], batch["proportions"], batch["position"] = counts, proportions, shard.position
            self.board.publish(worker, number, batch)
            yield self.collate(samples)
        self.board.end(iteration, worker)
        # Where it is the last of the workers, and none had a batch. A loop that waits for one would wait for ever.
        if ended and not (start.positions["in_epoch"].any() or self.board.ends(iteration).any()):
            raise ValueError(
                f"sources: an epoch without a batch: {ended}; use a smaller batch_size, fewer workers or "
                'on_exhausted="restart"'
            )

    @property
    def _stands_still(self) -> bool:
        """Whether nothing moves the mix before the end of an epoch, unless it is assigned."""
        mixer = self.mixer
        moved = mixer.needs_losses or mixer.needs_validation or mixer.follows_progress or self._computed
        return getattr(mixer, "every", None) == "epoch" or not moved

    def _refuse_old(self, iteration: int) -> None:
        if iteration != self.board.iteration:
            raise RuntimeError("this iterator is out of date: a newer one, or a loaded state, took its place")

    def _find_mix(self, iteration: int, place: int, epoch: int, num_workers: int) -> tuple[int, Vector]:
        """Return number and proportions of the mix of the batch at this place of the stream."""
        if self.knows_mixes or num_workers == 0:
            self.mixer.seek(place, epoch)
        if self.knows_mixes or (num_workers == 0 and self._computed):
            return 0, self.mix()
        return self.board.find_mix(iteration, place - self.ahead(num_workers))

    def _open(self, number: int, position: Record) -> Shard:
        """Return the shard at its position, without reading anything again if it is there."""
        live = self._live
        if live is not None and not self.stops and live.is_at(number, position):
            live.position = position.copy()
            return live
        num_shards, epoch = int(position["num_shards"]), int(position["epoch"]) if self.stops else 0
        readers = [
            Reader(
                source,
                self.processes.rank * num_shards + number,
                self.processes.num_replicas * num_shards,
                seed=f"{self.seed} {epoch}",
                buffer=self.shuffle_buffer,
                restart=self.on_exhausted != "stop_first",
            )
            for source in self.sources
        ]
        return Shard(number, readers, position)


def _refuse_to_wait(names: list[Any]) -> None:
    if names:
        raise ValueError(
            f"sources: {', '.join(map(repr, names))} without a share would never be drawn to the end, which "
            'on_exhausted="stop_all" waits for; give each source a share or use "stop_first"'
        )
