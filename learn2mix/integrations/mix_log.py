"""What a run's logger is told of the mix: the same names under every Trainer."""

from __future__ import annotations

from typing import Any

import numpy as np

from learn2mix.batches.mixed import MixedBatches
from learn2mix.checks import Vector

MOST_GROUPS = 20


class MixLog:
    """Collects what the batches since the last entry were asked to be, and were."""

    def __init__(self) -> None:
        self._num_batches = 0
        self._requested: Any = 0.0
        self._given: Any = 0

    def add(self, sampler: MixedBatches) -> None:
        """Count in the batch that was observed last."""
        batch = sampler.last_observed
        if batch is not None:
            self._num_batches += 1
            self._requested = self._requested + batch.proportions
            self._given = self._given + batch.counts

    def pop(self, sampler: MixedBatches) -> dict[str, float]:
        """Return the entry, and begin the next; without a batch, nothing.

        ``mix/requested/NAME`` and ``mix/realised/NAME`` are shares, means over the batches; ``mix/loss/NAME`` is the
        loss of the group at the last update; ``mix/entropy`` is in nats and ``mix/lag`` in batches. Of more than 20
        groups only the extremes.
        """
        if not self._num_batches:
            return {}
        requested, realised = self._requested / self._num_batches, self._given / self._given.sum()
        self._num_batches, self._requested, self._given = 0, 0.0, 0
        present = requested[requested > 0]
        entry = {"mix/entropy": float(-(present * np.log(present)).sum()), "mix/lag": float(sampler.lag)}
        for name, values in (("requested", requested), ("realised", realised), ("loss", sampler.group_losses)):
            entry |= _by_group(f"mix/{name}", values, sampler.group_names)
        return entry


def _by_group(prefix: str, values: Vector, names: list[Any]) -> dict[str, float]:
    known = np.flatnonzero(~np.isnan(values))  # a group not seen has no loss to log
    if len(values) <= MOST_GROUPS:
        return {f"{prefix}/{names[group]}": float(values[group]) for group in known}
    entry: dict[str, float] = {}
    if len(known) > 0:
        for extreme, place in (("min", values[known].argmin()), ("max", values[known].argmax())):
            group = known[place]
            entry |= {f"{prefix}/{extreme}": float(values[group]), f"{prefix}/{extreme}_group": float(group)}
    return entry
