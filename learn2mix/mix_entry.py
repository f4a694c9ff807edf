"""What a logger is told of the mix, and under which names: the same under every Trainer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from unicodedata import combining, normalize

import numpy as np

from learn2mix.batches.mixed import MixedBatches
from learn2mix.checks import Counts, Vector, check_whole

LONGEST_TAG = 100  # characters; MLflow takes names of 250


class MixEntry:
    """Tells of the batches since the last entry.

    What these were asked to be is told by what they were, and what is owed to the groups since: so a batch without an
    entry costs next to nothing. ``log_groups`` are as :class:`learn2mix.MixingCallback` takes them.
    """

    def __init__(self, group_names: list[Any], log_groups: int | Sequence[Any] | None = 20) -> None:
        tags = tags_of(group_names)
        self._tags = {group: tags[group] for group in _groups_to_log(group_names, log_groups)}
        self._from: tuple[Counts, Vector] | None = None  # draws and credit when the last entry was written

    def begin(self, sampler: MixedBatches) -> bool:
        """Begin at the batch observed last, unless it has begun; whether it has by now."""
        if self._from is None and (first := sampler.last_observed) is not None:
            self._from = first.draws, first.credit
        return self._from is not None

    def make(self, sampler: MixedBatches, *, ends: bool = False) -> dict[str, float]:
        """Return the values by name, and begin anew if the entry ``ends``; none where no batch was observed.

        ``mix/requested/NAME`` and ``mix/realised/NAME`` are shares, means over the batches; ``mix/loss/NAME`` is the
        loss of the group at the last update; ``mix/entropy`` is in nats and ``mix/lag`` in batches. Of more groups than
        ``log_groups`` only the extremes.
        """
        batch = sampler.last_observed
        if batch is None or self._from is None or not (given := batch.drawn - self._from[0]).any():
            return {}
        credit = batch.credit + (batch.proportions * batch.size - batch.counts)
        requested, realised = (given + (credit - self._from[1])) / given.sum(), given / given.sum()
        if ends:
            self._from = batch.drawn, credit
        present = requested[requested > 0]
        entry = {"mix/entropy": float(-(present * np.log(present)).sum()), "mix/lag": float(sampler.lag)}
        for name, values in (("requested", requested), ("realised", realised), ("loss", sampler.group_losses)):
            entry |= self._by_group(f"mix/{name}", values)
        return entry

    def _by_group(self, prefix: str, values: Vector) -> dict[str, float]:
        known = np.flatnonzero(~np.isnan(values)).tolist()  # a group not seen has no loss to log
        if self._tags:
            return {f"{prefix}/{self._tags[group]}": float(values[group]) for group in known if group in self._tags}
        extremes: list[tuple[str, Callable[..., int]]] = [("min", min), ("max", max)]
        entry: dict[str, float] = {}
        for extreme, find in extremes if known else []:
            group = find(known, key=values.__getitem__)
            entry |= {f"{prefix}/{extreme}": float(values[group]), f"{prefix}/{extreme}_group": float(group)}
        return entry


def check_log_groups(value: Any) -> int | Sequence[Any] | None:
    """Return ``log_groups``, or raise a TypeError or a ValueError."""
    if value is None or (isinstance(value, Sequence) and not isinstance(value, str)):
        return value
    return check_whole(value, "log_groups", minimum=0)


def _groups_to_log(names: list[Any], log_groups: int | Sequence[Any] | None) -> list[int]:
    """Return the numbers of the groups that have entries of their own; none where only the extremes are logged."""
    if log_groups is None or isinstance(log_groups, int):
        return list(range(len(names))) if log_groups is None or len(names) <= log_groups else []
    unknown = [name for name in log_groups if name not in names]
    if unknown:
        raise ValueError(f"log_groups: there is no group {unknown[0]!r}; the groups are {names[:20]}")
    return [number for number, name in enumerate(names) if name in log_groups]


def tags_of(names: Sequence[Any]) -> list[str]:
    """Return a name for each group that every logger takes as it is, no two the same, and numbers in their order.

    Letters lose their accents; what is then no ASCII letter, digit, ``_``, ``-`` or ``.`` becomes ``_`` (MLFlowLogger
    would drop it); whole numbers get leading zeros. Where two come out the same the second gets ``-2``, and where
    nothing is left the group goes by its number.

    Example:
        >>> tags_of([0, 7, 10])
        ['00', '07', '10']
        >>> tags_of([1, "1", "hot dog", "hot/dog", ("café", 2), "犬"])
        ['1', '1-2', 'hot_dog', 'hot_dog-2', 'cafe-2', 'group-5']
    """
    width = max((len(str(abs(name))) for name in names if isinstance(name, int)), default=0)
    tags: dict[str, None] = {}
    for group, name in enumerate(names):
        parts = name if isinstance(name, tuple) else (name,)
        text = "-".join(f"{part:0{width}d}" if isinstance(part, int) else str(part) for part in parts)
        letters = "".join(char for char in normalize("NFKD", text) if not combining(char))
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", letters)[:LONGEST_TAG]
        tag = plain = plain if re.search("[A-Za-z0-9]", plain) else f"group-{group}"
        number = 2
        while tag in tags:
            tag, number = f"{plain}-{number}", number + 1
        tags[tag] = None
    return list(tags)
