"""The order of each source, which every reader and a resumed run have to find again: told by some of its samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from learn2mix.streams.shards import WHOLE

MOST_KEPT = 64  # marks of each source and shard
SHUFFLE = "shuffle by shuffle_buffer= or by random, numpy.random or torch, which the stream seeds"


class Orders:
    """Compares marks: the number of a sample in the endless passes over a source or a shard of it, and its digest."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, int], dict[int, int]] = {}  # digests by number, of each source and shard
        self._warned: set[int] = set()  # sources
        self._loaded: set[tuple[int, int, int]] = set()  # those that no reader of this run has found yet

    def clear(self) -> None:
        """Begin anew, where the sources are read from their beginning."""
        self._found.clear()

    def learn(self, source: int, shard: int, name: Any, marks: Iterable[tuple[int, int]], *, agree: bool) -> None:
        """Note the marks of a reader; ``agree`` says that others read the same.

        Raises:
            RuntimeError: if the order differs from that of another reader; a warning, if from that of an earlier one.
        """
        found = self._found.setdefault((source, shard), {})
        for number, seen in marks:
            before, found[number] = found.get(number, seen), seen
            if before != seen:
                if agree and (source, shard, number) not in self._loaded:
                    found[number] = before
                    raise RuntimeError(
                        f"sources: {name!r} has another sample {number} in each worker, so its order differs (shuffled "
                        "without a seed, read by threads, a file opened before the workers?) and samples would be lost "
                        f"and doubled; {SHUFFLE}, open files in __iter__, make random changes in decode_fn, give it a "
                        "method shard(num_shards=, index=), or use num_workers=1"
                    )
                self._warn(source, name, number)
            self._loaded.discard((source, shard, number))
            if len(found) > MOST_KEPT:
                del found[next(iter(found))]

    def _warn(self, source: int, name: Any, number: int) -> None:
        if source not in self._warned:
            self._warned.add(source)
            warnings.warn(
                f"MixedStream: {name!r} has another sample {number} than when it was read before, so its order differs "
                "(not seeded, or other data?), and some samples of its running pass come twice and others not; "
                f"{SHUFFLE}, or give it state_dict and load_state_dict",
                stacklevel=2,
            )

    def state_before(self, drawn: Any, by_shard: Any, own: set[int]) -> list[list[int]]:
        """Return the last mark of each source and shard, as four numbers, before what was drawn of them.

        Not of those that each process reads an ``own`` part of: a state is the same on every process.
        """
        state = []
        for (source, shard), found in sorted(self._found.items()):
            end = int(drawn[source] if shard == WHOLE else by_shard[source][shard])
            number = max((number for number in found if number < end), default=None)
            if number is not None and source not in own:
                state.append([source, shard, number, found[number]])
        return state

    def load_state(self, state: list[list[int]]) -> None:
        """Compare what is read from now on with what :meth:`state_before` returned."""
        self._found = {(source, shard): {number: seen} for source, shard, number, seen in state}
        self._warned.clear()
        self._loaded = {(source, shard, number) for source, shard, number, _ in state}
