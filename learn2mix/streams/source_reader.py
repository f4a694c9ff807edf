"""Reads one source in one process: how it is split over those that read it, and its passes."""

from __future__ import annotations

import random
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np

from learn2mix.batches.permutation import keys_at, parts_of_passes
from learn2mix.streams.passes import IndexedPasses, Shuffled, SourcePasses
from learn2mix.streams.shards import WHOLE
from learn2mix.streams.sources import Source, UnusableError, digest, has_exact_state, peek, twin
from learn2mix.streams.surroundings import OwnRandomness, RankQuestions, Seen, seen_as

LARGEST_SHUFFLE, PART = 1 << 16, 1 << 12  # samples that are shuffled whole, and about so many found at a time


class Settings(NamedTuple):
    """How the sources are read in an iteration."""

    seed: int  # of the shuffling
    buffer: int  # samples of each source from which to draw at random; 0 or 1 for the order of the source
    restart: bool  # whether passes over a source follow each other within an epoch
    stops: bool  # whether each epoch reads the sources from their beginning
    num_shards: int  # among which the workers of a process share a source
    num_replicas: int
    rank: int  # of the process
    keep: int  # samples that stay in memory behind the newest, to go back to, and that are looked ahead
    resume: list[tuple[int, int, dict[str, Any]]]  # source, shard, and its own state, to go on from


class SourceReader:
    """Reads one source; ``states`` are its own, by shard, to go on from.

    Attributes:
        kind: what each reader sees: the ``"whole"``, its process's ``"own"`` part, or ``"shards"``, one for each worker
            and the same in every process.
        firsts: digest of the first sample of each shard, or of the whole, that every process has to see alike.
    """

    def __init__(self, source: Source, settings: Settings, epoch: int, states: dict[int, dict[str, Any]]) -> None:
        self._source, self._settings, self._epoch = source, settings, epoch
        self.firsts: dict[int, int] = {}
        self._splits_itself = False
        self._has_state = has_exact_state(source.samples)  # and may go on where a pass was left
        # Where an epoch ends with the sources, each process has to see where they end.
        self._questions = RankQuestions(alone=settings.stops and settings.num_replicas > 1)
        self._randomness: dict[int, OwnRandomness] = defaultdict(OwnRandomness)  # of each shard, alike in every reader
        self._opened: dict[int, Iterator[Any]] = {}  # passes opened to look at their first sample, by shard
        self._passes: dict[int, Any] = {}
        self._live: dict[int, Any] = {}  # what is iterated, of each shard
        self._twins: dict[int, Any] = {}  # what its passes are of, by shard
        if settings.stops and callable(tell := getattr(source.samples, "set_epoch", None)):
            tell(epoch)  # in every reader, for what the loop tells a source does not reach the workers
        states = states if self._has_state else {}  # which another version of a library may have saved
        self.kind = "whole"
        if WHOLE not in states or settings.num_replicas > 1:  # else it is read whole, and not to be looked at
            self.kind = self._find_kind()
        for shard, state in states.items():
            self._twins.pop(WHOLE, None)  # which was looked at
            samples = self._live[shard] = twin(self._shard_of(shard))  # its later passes begin at the beginning
            with seen_as(self._seen(shard)):
                samples.load_state_dict(state["state"])
                rest = map(next, repeat(iter(samples)))  # one that returns itself may begin anew if iterated again
            passes = self.passes(shard)
            passes.length = state["length"]
            passes.begin(state["number"], state["start"], rest)

    def _find_kind(self) -> str:
        source, samples, stops = self._source, self._source.samples, self._settings.stops
        num_shards, num_replicas = self._settings.num_shards, self._settings.num_replicas
        if source.random_access or num_shards * num_replicas == 1:
            return "whole"
        if any(kind.__module__.startswith("streaming.base") for kind in type(samples).__mro__):
            raise UnusableError(
                "is mosaicml's, whose workers wait for each other at each pass, and those of a stream pass over it at "
                "different times; read it by index: give an object whose __len__ returns dataset.size and whose "
                "__getitem__ returns dataset[index], or use one process and num_workers=1"
            )
        # Hugging Face's split_dataset_by_node leaves a note that the data are this process's alone.
        split_by_rank = num_replicas > 1 and getattr(samples, "_distributed", None) is not None
        shards = "shards" if num_shards > 1 else "whole"
        has_shards = not stops and hasattr(samples, "shard")
        if has_shards and (split_by_rank or (num_shards > 1 and source.splits_into(num_shards))):
            return "own" if split_by_rank else "shards"
        # As one of two workers at least, so that a source that can split itself does.
        seen = None if stops or has_shards else Seen(0, max(num_shards, 2))
        samples = self._begun_nowhere()
        opened, first = self._open(samples, WHOLE, seen, before=0)
        split_by_rank = split_by_rank or (num_replicas > 1 and self._questions.splits_by_rank)
        if split_by_rank and stops:
            raise UnusableError(
                "is split by process (split_dataset_by_node, or it asks for the rank and not for the number of "
                "processes), so no process knows where it ends in the others; give every process all of it, which the "
                'stream splits, or use on_exhausted="restart"'
            )
        if not split_by_rank:
            self._note_first(WHOLE, first)
        if seen is not None and seen.asked:
            last = Seen(num_shards - 1, num_shards)  # has no samples where there are fewer parts
            self._splits_itself = num_shards == 1 or self._open(self._begun_nowhere(), WHOLE, last, before=0)[1] != []
            return "own" if split_by_rank else shards if self._splits_itself else "whole"
        # It goes on after an error, as the iterator may.
        self._opened[WHOLE], self._live[WHOLE], self._twins[WHOLE] = opened, samples, samples
        return "own" if split_by_rank else "whole"

    def _begun_nowhere(self, *, split: bool = False) -> Any:
        """Return the source; a twin of one that is split, or that counts where it is and would go on there."""
        samples = self._source.samples
        return twin(samples) if split or self._has_state else samples

    def _note_first(self, shard: int, first: list[Any] | Exception) -> None:
        if isinstance(first, list) and first:
            self.firsts[shard] = digest(first[0])

    def passes(self, shard: int) -> Any:
        """Return the passes over a shard, or over the whole."""
        if shard not in self._passes:
            self._passes[shard] = self._new_passes(shard)
        return self._passes[shard]

    def close(self) -> None:
        """Let go what is read: passes and reader know each other, and open files would wait to be collected."""
        self._passes, self._live, self._opened, self._twins = {}, {}, {}, {}

    def _new_passes(self, shard: int) -> Any:
        samples, settings = self._source.samples, self._settings
        if self._source.random_access:
            return IndexedPasses(samples, self._shuffled_part if settings.buffer > 1 else None)
        saves = self._has_state and settings.buffer <= 1 and not self._questions.misled
        passes = SourcePasses(
            lambda before: self._open_pass(shard, before),
            settings.keep,
            settings.restart,
            seen=self._seen(shard),
            randomness=self._randomness[shard],
            save=(lambda: self._live[shard].state_dict()) if saves else None,
        )
        if shard != WHOLE:
            passes.if_empty = (
                f"has no samples in part {shard} of the {settings.num_shards} that it splits itself into, one for each "
                "worker; use a smaller num_workers, or give it more files"
            )
        return passes

    def _seen(self, shard: int) -> Seen | None:
        return Seen(shard, self._settings.num_shards) if self.kind == "shards" and self._splits_itself else None

    def _shard_of(self, shard: int) -> Any:
        if self.kind == "shards" and not self._splits_itself:
            return self._source.samples.shard(num_shards=self._settings.num_shards, index=shard)
        if shard not in self._twins:  # some return themselves when iterated, and one worker may read several shards
            self._twins[shard] = self._begun_nowhere(split=self.kind == "shards")
        return self._twins[shard]

    def _open_pass(self, shard: int, before: int) -> Iterator[Any]:
        samples = self._opened.pop(shard, None)
        if samples is None or before:
            if self._has_state:
                self._twins.pop(shard, None)
            self._live[shard] = self._shard_of(shard)
            samples, first = self._open(self._live[shard], shard, self._seen(shard), before)
            if shard != WHOLE and self._settings.num_replicas > 1 and not before:
                self._note_first(shard, first)
        if self._settings.buffer <= 1:
            return samples
        generator = random.Random(f"{self._settings.seed} {self._epoch} {self._source.name} {max(shard, 0)} {before}")
        return Shuffled(samples, self._settings.buffer, generator)

    def _open(
        self, samples: Any, shard: int, seen: Seen | None, before: int
    ) -> tuple[Iterator[Any], list[Any] | Exception]:
        """Begin a pass over the source or a shard of it, in the order that any other reader of it sees."""
        randomness = self._randomness[shard]
        draws = randomness.used or not randomness.seeded  # the passes of a source are alike, and seeding takes long
        if draws:
            part = {"whole": "", "own": f" of {self._settings.rank}", "shards": f" in {shard}"}[self.kind]
            randomness.seed(f"{self._settings.seed} {self._epoch} {self._source.name} {before}{part}")
        with self._questions, seen_as(seen), randomness if draws else nullcontext():
            return peek(self._source.open(samples, seen, before))

    def _shuffled_part(self, before: int, place: int) -> tuple[int, list[int]]:
        """Return where a part of a pass over map-style data begins, and its indices: a pure function of its arguments.

        As many samples as the buffer holds are shuffled among each other, and so are the next. A part has several such
        blocks, or, of a large one, some places.
        """
        size, buffer = len(self._source.samples), self._settings.buffer
        block, inside = divmod(place, buffer)
        several = max(PART // buffer, 1)
        blocks = np.arange(block - block % several, min(block - block % several + several, -(-size // buffer)))
        offsets = blocks * buffer
        sizes = np.minimum(size - offsets, buffer)
        begin, end = np.zeros_like(sizes), sizes
        if sizes[0] > LARGEST_SHUFFLE:
            begin, end = begin + inside - inside % PART, np.minimum(sizes, inside - inside % PART + PART)
        name = zlib.crc32(repr(self._source.name).encode())
        keys = keys_at(self._settings.seed, self._epoch, name, before, blocks)
        return int(offsets[0] + begin[0]), parts_of_passes(keys, sizes, begin, end, offsets, LARGEST_SHUFFLE).tolist()
