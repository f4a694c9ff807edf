"""Whether processes that sum no losses hold the same: word that each leaves for the others, and nobody waits for."""

from __future__ import annotations

import json
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

from torch.utils.data import get_worker_info

from learn2mix.feedback.pending import describe_differences
from learn2mix.feedback.processes import Processes
from learn2mix.mixers.base import Mixer

# Numbers of those that compared something, by the ranks that do; in the same order on each of these.
NUMBERS: defaultdict[tuple[int, ...], Iterator[int]] = defaultdict(count)


class Agreement:
    """Warns where processes hold other values, under a mixer that follows no losses and so may never be observed.

    Each process leaves its values in the store by which all have met, then looks for those of rank 0, and rank 0 for
    those of all. So of two that differ the later one finds out.
    """

    def __init__(self, processes: Processes, mixer: Mixer, name: str) -> None:
        self._processes, self._name, self._is_needed = processes, name, not mixer.needs_losses
        self._key = ""
        self._topics: set[str] = set()  # that were compared

    def compare(self, topic: str, find_values: Callable[[], dict[str, int]]) -> None:
        """Compare values, which are asked for where there is need, with those that are there, once a topic."""
        if not self._is_needed or topic in self._topics or get_worker_info() is not None:
            return
        store, ranks = self._processes.meeting_place()
        if store is None:
            return
        self._topics.add(topic)
        self._key = self._key or f"learn2mix/{zlib.crc32(repr(ranks).encode())}/{next(NUMBERS[ranks])}"
        values = find_values()
        try:
            found = self._exchange(store, f"{self._key}/{topic}", values)
        except RuntimeError:  # torch's, where the process that keeps the store has ended; then there is none to differ
            return
        if (message := describe_differences(found)) is not None:
            warnings.warn(f"{self._name}: {message}", stacklevel=2)

    def _exchange(self, store: Any, key: str, values: dict[str, int]) -> dict[int, dict[str, int]]:
        rank = self._processes.rank
        found = {rank: values}
        store.set(f"{key}/{rank}", json.dumps(values))
        for other in range(1, self._processes.num_replicas) if rank == 0 else [0]:
            if store.check([f"{key}/{other}"]) and (said := store.get(f"{key}/{other}")):  # a fake store has nothing
                found[other] = json.loads(said)
        return dict(sorted(found.items()))
