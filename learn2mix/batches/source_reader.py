"""Reads one source in one process: how it is split over those that read it, and its passes."""

from __future__ import annotations

import copy
import random
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from learn2mix.batches.passes_of_source import IndexedPasses, Shuffled, SourcePasses
from learn2mix.batches.sources import Seen, Source, digest, seen_as

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WHOLE", "Kind", "Readers", "SourceReader"]

WHOLE = -1  # in the place of a shard: the source in the order that every reader sees

Kind = Literal["whole", "own", "shards"]
"""Whether all readers see the whole of a source, those of a process see the part of that process, or each worker of a
process has a shard, the same in every process."""


class Readers(NamedTuple):
    """Those that read a source: workers of processes."""

    num_shards: int  # for the workers of a process
    rank: int
    num_replicas: int

    @property
    def several(self) -> bool:
        """Whether there are more than one."""
        return self.num_shards * self.num_replicas > 1


class SourceReader:
    """Reads one source.

    Args:
        source: what to read.
        readers: those among which it is split.
        seed: of the shuffling.
        buffer: samples from which to draw at random; 0 or 1 for the order of the source.
        epoch: which one, where each reads the source from its beginning; else 0.
        stops: whether each epoch does.
        restart: whether passes follow each other within an epoch.
        keep: samples that stay in memory behind the newest, to go back to.

    Attributes:
        kind: how the source is split.
        digest: of the first sample, where every reader has to see the same order; None where not.
    """

    def __init__(
        self,
        source: Source,
        readers: Readers,
        *,
        seed: int,
        buffer: int,
        epoch: int,
        stops: bool,
        restart: bool,
        keep: int,
    ) -> None:
        self._source, self._readers = source, readers
        self._seed, self._buffer, self._epoch = seed, buffer, epoch
        self._restart, self._keep = restart, keep
        self._splits_itself = False
        self.digest: int | None = None
        self._opened: Iterator[Any] | None = None
        self._passes: dict[int, Any] = {}
        self._live: dict[int, Any] = {}  # what is iterated, of each shard
        self.kind: Kind = self._find_kind(stops)

    # ------------------------------------------------------------------ how it is split

    def _find_kind(self, stops: bool) -> Kind:
        source, readers = self._source, self._readers
        whole: Kind = "own" if source.split_by_rank and readers.num_replicas > 1 else "whole"
        if source.random_access or stops or not readers.several:
            return whole
        if hasattr(source.samples, "shard"):
            splits = readers.num_shards > 1 and whole == "whole" and source.splits_into(readers.num_shards)
            return "shards" if splits else whole
        seen = Seen(0, max(readers.num_shards, 2))  # two, so that a source that can split itself does
        with self._same_randomness(0), seen_as(seen, notice_rank=readers.num_replicas > 1):
            iterator = source.open(source.samples)
            first = _take_one(iterator)
        if seen.asked:
            self._splits_itself = True
            return "own" if seen.asked_rank else "shards" if readers.num_shards > 1 else "whole"
        self.digest = digest(first[0]) if first else None
        self._opened = chain(first, iterator)  # goes on after an error, as the iterator may
        return "own" if seen.asked_rank else whole

    def _seen(self, shard: int) -> Seen | None:
        if self.kind == "shards" and self._splits_itself:
            return Seen(shard, self._readers.num_shards)
        return None

    # ------------------------------------------------------------------ its passes

    def passes(self, shard: int) -> Any:
        """Return the passes over a shard, or over the whole."""
        if shard not in self._passes:
            self._passes[shard] = self._new_passes(shard)
        return self._passes[shard]

    def _new_passes(self, shard: int) -> Any:
        if self._source.random_access:
            size = len(self._source.samples)
            order = (lambda before: list(self._shuffle(iter(range(size)), 0, before))) if self._buffer > 1 else None
            return IndexedPasses(self._source.samples, order)
        saves = hasattr(self._source.samples, "state_dict") and hasattr(self._source.samples, "load_state_dict")
        return SourcePasses(
            lambda before: self._open_pass(shard, before),
            seen=self._seen(shard),
            keep=self._keep,
            restart=self._restart,
            save=(lambda: self._live[shard].state_dict()) if saves and self._buffer <= 1 else None,
        )

    def resume(self, shard: int, state: dict[str, Any]) -> None:
        """Go on with a pass by the source's own state."""
        samples = copy.copy(self._shard_of(shard))  # its later passes begin at the beginning
        samples.load_state_dict(state["state"])
        self._live[shard] = samples
        self.passes(shard).resume(state["number"], state["start"], state["length"], iter(samples))

    def _shard_of(self, shard: int) -> Any:
        if self.kind != "shards" or self._splits_itself:
            return self._source.samples
        return self._source.shard(shard, self._readers.num_shards)

    def _open_pass(self, shard: int, before: int) -> Iterator[Any]:
        if self._opened is not None and before == 0:
            opened, self._opened = self._opened, None
            self._live[shard], samples = self._source.samples, opened
        else:
            self._live[shard] = self._shard_of(shard)
            with seen_as(self._seen(shard)), self._same_randomness(before):
                iterator = self._source.open(self._live[shard])
                first = _take_one(iterator) if self._has_to_be_alike else []
            samples = chain(first, iterator) if first else iterator
        return self._shuffle(samples, max(shard, 0), before) if self._buffer > 1 else samples

    def _shuffle(self, samples: Iterator[Any], shard: int, before: int) -> Iterator[Any]:
        generator = random.Random(f"{self._seed} {self._epoch} {self._source.name} {shard} {before}")
        return Shuffled(samples, self._buffer, generator)

    @property
    def _has_to_be_alike(self) -> bool:
        return self._readers.several and getattr(self, "kind", "whole") == "whole"

    @contextmanager
    def _same_randomness(self, before: int) -> Iterator[None]:
        """Begin a pass at the same global random state in every reader, and leave that of this process as it was.

        A source that shuffles without a seed by these generators then has the same order for all.
        """
        if not self._has_to_be_alike:
            yield
            return
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        seed = random.Random(f"{self._seed} {self._epoch} {self._source.name} {before}").getrandbits(32)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
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
