"""The requests of a stream: which samples of which source, and of which shard, each batch is to have."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learn2mix.batches.composition import Batch
from learn2mix.batches.lock import locked
from learn2mix.batches.mixed import MixedBatches
from learn2mix.batches.torch_loader import STATEFUL_WORKER, called_by
from learn2mix.feedback.pending import FIRST
from learn2mix.mixers.base import Mixer
from learn2mix.streams.ends import Ends, tell_of_no_epoch
from learn2mix.streams.orders import Orders
from learn2mix.streams.reader import News, Part, Request, StreamReader
from learn2mix.streams.shards import WHOLE, Shards
from learn2mix.streams.source_reader import Settings
from learn2mix.streams.sources import Source

PROBE = -1  # in the place of a batch's number: asks only where the sources end
UNEQUAL = (
    "MixedStream: {!r} gave {} samples in one pass and {} in another; samples are found by their number, so several "
    "workers, or a resumed run, lose some and have others twice. Give the same samples in each pass, or choose them in "
    "a pass without an end (while True in __iter__)"
)


class Requesting(MixedBatches):
    """Composes requests, and learns from the answers where the sources end."""

    _reader: StreamReader
    _shuffle_buffer: int
    _knows_length = False

    def __init__(self, sources: list[Source], mixer: Mixer, on_exhausted: str, batch_sizes: Any, **others: Any) -> None:
        lengths = np.array([source.size or -1 for source in sources])
        sizes = lengths.astype(np.float64) if (lengths > 0).all() else np.ones(len(lengths))
        super().__init__(mixer, sizes / sizes.sum(), [source.name for source in sources], **others)
        self.on_exhausted = on_exhausted
        self._batch_sizes = batch_sizes  # samples that a batch of each source alone has; None for self.batch_size
        self._ends = Ends(on_exhausted, lengths, np.array([source.random_access for source in sources]))
        self._shards = Shards(len(sources), self.num_replicas)
        self._epoch_start = self._composition.draws  # draws when the epoch began
        self._sizes_so_far: NDArray[np.float64] | None = None  # of the sources; None once more is known
        self._residue: int | None = None  # of the numbers of the batches that this copy in a worker gives
        self._orders = Orders()
        self._may_have_no_epoch = not self._ends.stops and getattr(mixer, "every", None) == "epoch"
        self._pass_lengths: dict[tuple[int, int], int] = {}  # by source and shard; 0 once it was told that they differ
        self._firsts: dict[tuple[int, int], int] = {}  # of first samples, by source and shard, as readers have told

    @locked
    def _prepare(self, num_shards: int, max_ahead: int) -> None:
        """Get ready for an iteration: how many workers read, and how many batches they have on their way."""
        check_sizes(self._reader.sources, self._ends.lengths)
        self._max_ahead = max_ahead
        rank, num_replicas = self._split
        self._num_readers = num_shards
        self._shards.split(num_shards, num_replicas)
        self._settings = Settings(
            self.seed,
            self._shuffle_buffer,
            restart=self.on_exhausted in ("restart", "stop_all"),
            stops=self._ends.stops,
            num_shards=self._shards.num_shards,
            num_replicas=num_replicas,
            rank=rank,
            keep=(max_ahead + 2) * self.batch_size * num_replicas,
            resume=self._shards.states_before(self._composition.composed, self._drawn(), rank),
        )

    def _answered(self, iteration: int, num_workers: int = 1, residue: int = 0) -> Iterator[Any]:
        """Read every batch here, or those that are the part of this copy in a worker."""
        for request in self._requests(iteration):
            if request.number == PROBE or request.number % num_workers == residue:
                answer = self._reader[request]
                with self._lock:
                    self._learn(answer.news)
                if request.number != PROBE:
                    yield answer.batch
        self._end_iteration(iteration)

    def _in_worker(self, worker: int, num_workers: int) -> Iterator[Any]:
        """Give every batch that is this worker's, where the stream itself was sent to the workers."""
        if not called_by(STATEFUL_WORKER) or self.mixer.needs_losses or self.mixer.needs_validation:
            raise RuntimeError(
                "MixedStream: the copies in a DataLoader's workers hear nothing of losses and leave this stream's "
                f"state_dict behind; use MixedLoader(stream, num_workers={num_workers})"
            )
        iteration = self._begin(None)
        self._prepare(num_shards=1, max_ahead=0)
        if self._residue is None:
            self._residue = (self._composition.composed + worker) % num_workers
        yield from self._answered(iteration, num_workers, self._residue)

    def _requests(self, iteration: int) -> Iterator[Request]:
        """Compose the batches of an epoch, each when it is asked for; yields a probe while it is not known how to."""
        self._warn_if_begun_anew()
        while True:
            with self._lock:
                request = self._next_request(iteration)
            if request is None:
                return
            yield request

    def _next_request(self, iteration: int) -> Request | None:
        self._check_current(iteration)
        drawn = self._drawn()
        if not self._ends.knows_enough(drawn, self.batch_size * self._split[1]):
            return self._request(None, drawn)
        batch = None if self._ends.ended(drawn, self._split[1]) else self._next_batch(drawn)
        if batch is None:
            self._exhausted = True
            return None
        return self._request(batch, drawn)

    def _next_batch(self, drawn: NDArray[np.int64]) -> Batch | None:
        """Compose a batch; None where a source ends before it could be filled."""
        self._refuse_to_wait(drawn)
        if self._may_have_no_epoch:
            drawn_since = self._composition.draws - self._epoch_start
            self._may_have_no_epoch = not tell_of_no_epoch(
                self.mixer, self._composition.position, drawn_since, self._sizes()
            )
        batch = self._composition.compose(self._size_of, self._find_mix, self._ends.limits(drawn))
        short = self._ends.short_of(drawn + batch.counts)
        if len(short) == 0:
            return batch
        self._composition.undo_newest()
        if self._composition.position == 0:
            name, length = self.group_names[short[0]], self._ends.lengths[short[0]]
            raise ValueError(
                f"sources: an epoch without a batch: {name!r} has {length} samples, but the first batch needs "
                f'{batch.counts[short[0]]}; use a smaller batch_size or on_exhausted="restart"'
            )
        return None

    def _size_of(self, proportions: NDArray[np.float64]) -> int:
        size = self.batch_size if self._batch_sizes is None else float(proportions @ self._batch_sizes)
        return max(1, round(size)) * self._split[1]

    def _find_mix(self, batch: int, epoch: int) -> NDArray[np.float64]:
        return self._ends.mix_of_those_left(super()._find_mix(batch, epoch), self._drawn())

    def _request(self, batch: Batch | None, drawn: NDArray[np.int64]) -> Request:
        rank, num_replicas = self._split
        own = self._shards.own[rank].tolist()
        nothing: list[Any] = [None] * len(own)
        number, order, places, segments = PROBE, None, nothing, nothing
        counts = np.zeros_like(drawn)
        if batch is not None:
            self._announce(batch)
            number, counts = batch.number, batch.counts
            segments = self._shards.plan(batch, self._composition.waiting[0].number, num_replicas) or nothing
            own_places, order = self._own(batch)
            places = nothing if own_places is None else _by_source(own_places, counts)
        look = self._ends.look_ahead(drawn + counts, self._settings.keep)
        columns = zip(range(len(own)), drawn.tolist(), counts.tolist(), places, own, segments, look, strict=True)
        parts = [part for part in map(Part._make, columns) if part.num_samples or part.look_ahead]
        epoch = self._composition.epoch if self._ends.stops else 0
        order = None if order is None else order.tolist()
        return Request(number, self._generation, epoch, parts, order, self._settings)

    def _epoch_composed(self) -> bool:
        return self._exhausted and self._ends.stops

    def _refuse_to_wait(self, drawn: NDArray[np.int64]) -> None:
        mixer = self.mixer
        moved = mixer.needs_losses or mixer.needs_validation or mixer.follows_progress
        if self.on_exhausted != "stop_all" or (moved and getattr(mixer, "every", None) != "epoch"):
            return
        waits = self._ends.never_ending(drawn, mixer.proportions)
        if len(waits):
            raise ValueError(
                f"sources: {', '.join(repr(self.group_names[source]) for source in waits)} without a share would never "
                'be drawn to the end, which on_exhausted="stop_all" waits for; give each source a share or use '
                '"stop_first"'
            )

    def _learn(self, news: dict[tuple[int, int], News]) -> None:
        self._sizes_so_far = None
        for (source, shard), found in news.items():
            length = found.length if self._settings.restart and not self._reader.skip else None
            known = length and self._pass_lengths.setdefault((source, shard), length)
            if known not in (None, 0, length):
                self._pass_lengths[source, shard] = 0
                warnings.warn(UNEQUAL.format(self.group_names[source], known, length), stacklevel=2)
            if shard == WHOLE:
                self._ends.learn(source, found.length, found.known_up_to)
            self._shards.learn(source, shard, found, self._composition.composed, self._max_ahead)
        for (source, shard), found in news.items():
            # A shard has one reader, unless a resumed run has another number of workers.
            agree = self._num_readers > 1 and (found.kind != "shards" or self._num_readers != self._shards.num_shards)
            self._orders.learn(source, shard, self.group_names[source], found.marks, agree=agree)
            if found.first is not None:
                self._firsts[source, shard] = found.first
            if found.first is not None and self._split[1] > 1:
                name, num_parts = f"{FIRST} {self.group_names[source]!r}", self._shards.num_parts
                read = {name: found.first, "number of workers": num_parts}
                self._agreement.compare(f"{source}.{shard}", read.copy)

    def _drawn(self) -> NDArray[np.int64]:
        """Return the draws of each source since the sources were read from their beginning, over all processes."""
        draws = self._composition.draws
        return draws - self._epoch_start if self._ends.stops else draws

    def _take_back(self) -> None:
        super()._take_back()
        self._shards.go_back_to(self._composition.composed)

    def _begin_epoch(self) -> None:
        super()._begin_epoch()
        self._shards.plans.clear()
        self._epoch_start = self._composition.draws
        if self._ends.stops:
            self._ends.begin_epoch()
            self._shards.begin_anew()
            self._orders.clear()
            self._firsts.clear()
            self._pass_lengths.clear()


def check_sizes(sources: Sequence[Source], sizes: NDArray[np.int64]) -> None:
    """Raise a ValueError if map-style data have another size than when the stream was made."""
    for source, size in zip(sources, sizes.tolist(), strict=True):
        if source.random_access and source.size != size:
            raise ValueError(
                f"sources: {source.name!r} has {source.size} samples, and had {size} when the stream was made; where "
                "data have come or gone, make a new stream, and go on: new.load_state_dict(old.state_dict())"
            )


def _by_source(mine: NDArray[np.int64], counts: NDArray[np.int64]) -> list[list[int]]:
    """Return this process's places in each source's part of a batch."""
    ends = counts.cumsum()
    cuts = mine.searchsorted(ends)
    first, starts = np.concatenate([[0], cuts[:-1]]), ends - counts
    return [(mine[a:b] - start).tolist() for a, b, start in zip(first, cuts, starts, strict=True)]
