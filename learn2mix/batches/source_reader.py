"""Reads one source in one process: how it is split over those that read it, and its passes."""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch

from learn2mix.batches.passes_of_source import IndexedPasses, Shuffled, SourcePasses
from learn2mix.batches.permutation import keys_at, parts_of_passes
from learn2mix.batches.sources import Seen, Source, digest, seen_as

LARGEST_SHUFFLE, PART = 1 << 16, 1 << 12  # samples that are shuffled whole, and about so many found at a time


class Settings(NamedTuple):
    """How the sources are read in an iteration."""

    seed: int  # of the shuffling
    buffer: int  # samples of each source from which to draw at random; 0 or 1 for the order of the source
    restart: bool  # whether passes over a source follow each other within an epoch
    stops: bool  # whether each epoch reads the sources from their beginning
    num_shards: int  # among which the workers of a process share a source
    num_replicas: int
    keep: int  # samples that stay in memory behind the newest, to go back to
    resume: list[tuple[int, int, dict[str, Any]]]  # source, shard, and its own state, to go on from


class SourceReader:
    """Reads one source.

    Attributes:
        kind: what each reader sees: the ``"whole"``, its process's ``"own"`` part, or ``"shards"``, one for each worker
            and the same in every process.
        digest: of the first sample, where every reader has to see the same order; None where not.
    """

    def __init__(self, source: Source, settings: Settings, epoch: int) -> None:
        self._source, self._settings, self._epoch = source, settings, epoch
        self._several = settings.num_shards * settings.num_replicas > 1
        self.digest: int | None = None
        self._splits_itself = False
        self._opened: Iterator[Any] | None = None  # the first pass, opened to see how the source is split
        self._passes: dict[int, Any] = {}
        self._live: dict[int, Any] = {}  # what is iterated, of each shard
        self.kind = "whole"
        self.kind = self._find_kind()

    def _find_kind(self) -> str:
        source, num_shards, num_replicas = self._source, self._settings.num_shards, self._settings.num_replicas
        # Hugging Face's split_dataset_by_node leaves a note that the data are this process's alone.
        split_by_rank = getattr(source.samples, "_distributed", None) is not None
        whole = "own" if split_by_rank and num_replicas > 1 else "whole"
        if source.random_access or self._settings.stops or not self._several:
            return whole
        if hasattr(source.samples, "shard"):
            return "shards" if num_shards > 1 and whole == "whole" and source.splits_into(num_shards) else whole
        seen = Seen(0, max(num_shards, 2))  # two, so that a source that can split itself does
        with self._same_randomness(0), seen_as(seen, notice_rank=num_replicas > 1):
            iterator = source.open(source.samples)
            first = _take_one(iterator)
        if seen.asked:
            self._splits_itself = True
            return "own" if seen.asked_rank else "shards" if num_shards > 1 else "whole"
        self.digest = digest(first[0]) if first else None
        self._opened = chain(first, iterator)  # goes on after an error, as the iterator may
        return "own" if seen.asked_rank else whole

    def passes(self, shard: int) -> Any:
        """Return the passes over a shard, or over the whole."""
        if shard not in self._passes:
            self._passes[shard] = self._new_passes(shard)
        return self._passes[shard]

    def _new_passes(self, shard: int) -> Any:
        samples = self._source.samples
        if self._source.random_access:
            return IndexedPasses(samples, self._shuffled_part if self._settings.buffer > 1 else None)
        saves = hasattr(samples, "state_dict") and hasattr(samples, "load_state_dict") and self._settings.buffer <= 1
        return SourcePasses(
            lambda before: self._open_pass(shard, before),
            seen=self._seen(shard),
            keep=self._settings.keep,
            restart=self._settings.restart,
            save=(lambda: self._live[shard].state_dict()) if saves else None,
        )

    def resume(self, shard: int, state: dict[str, Any]) -> None:
        """Go on with a pass by the source's own state."""
        samples = copy.copy(self._shard_of(shard))  # its later passes begin at the beginning
        samples.load_state_dict(state["state"])
        self._live[shard] = samples
        self.passes(shard).resume(state["number"], state["start"], state["length"], iter(samples))

    def _seen(self, shard: int) -> Seen | None:
        return Seen(shard, self._settings.num_shards) if self.kind == "shards" and self._splits_itself else None

    def _shard_of(self, shard: int) -> Any:
        if self.kind != "shards" or self._splits_itself:
            return self._source.samples
        return self._source.samples.shard(num_shards=self._settings.num_shards, index=shard)

    def _open_pass(self, shard: int, before: int) -> Iterator[Any]:
        if self._opened is not None and before == 0:
            self._live[shard] = self._source.samples
            samples, self._opened = self._opened, None
        else:
            self._live[shard] = self._shard_of(shard)
            with seen_as(self._seen(shard)), self._same_randomness(before):
                samples = self._source.open(self._live[shard])
                if self._has_to_be_alike:
                    samples = chain(_take_one(samples), samples)
        return self._shuffle(samples, max(shard, 0), before) if self._settings.buffer > 1 else samples

    def _shuffle(self, samples: Iterator[Any], shard: int, before: int) -> Iterator[Any]:
        generator = random.Random(f"{self._settings.seed} {self._epoch} {self._source.name} {shard} {before}")
        return Shuffled(samples, self._settings.buffer, generator)

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

    @property
    def _has_to_be_alike(self) -> bool:
        return self._several and self.kind == "whole"

    @contextmanager
    def _same_randomness(self, before: int) -> Iterator[None]:
        """Let sources that shuffle by the global generators, without a seed, have the same order in every reader."""
        if not self._has_to_be_alike:
            yield
            return
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        seed = random.Random(f"{self._settings.seed} {self._epoch} {self._source.name} {before}").getrandbits(32)
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)  # those of accelerators are the user's, and would not be restored
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            torch.set_rng_state(states[2])


def _take_one(samples: Iterator[Any]) -> list[Any]:
    """Return the first sample, in a list; an empty one where there is none."""
    first = next(samples, samples)
    return [] if first is samples else [first]
