"""What a log says of a mix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from learn2mix.batches.sampler import MixedBatchSampler
    from learn2mix.batches.stream import MixedStream
    from learn2mix.checks import Vector

__all__ = ["MixLog"]

MOST_GROUPS_LOGGED = 20


class MixLog:
    """What the batches since the last log entry were asked to be, and were."""

    def __init__(self) -> None:
        self._num_batches = 0
        self._requested: Any = 0.0
        self._given: Any = 0

    def add(self, sampler: MixedBatchSampler | MixedStream) -> None:
        """Count in the batch that was observed last."""
        batch = sampler.last_observed
        if batch is not None:
            self._num_batches += 1
            self._requested = self._requested + batch.proportions
            self._given = self._given + batch.counts

    def entry(self, sampler: MixedBatchSampler | MixedStream) -> dict[str, float]:
        """Return the numbers by name: entropy of the mix, lag, and requested share, realised share and loss a group."""
        requested = self._requested / self._num_batches
        present = requested[requested > 0]
        entry = {"mix/entropy": float(-(present * np.log(present)).sum()), "mix/lag": float(sampler.lag)}
        for name, values in (
            ("requested", requested),
            ("realised", self._given / self._given.sum()),
            ("loss", sampler.group_losses),
        ):
            entry |= _by_group(f"mix/{name}", values, sampler.group_names)
        return entry


def _by_group(prefix: str, values: Vector, names: list[Any]) -> dict[str, float]:
    known = np.flatnonzero(~np.isnan(values))  # a group not seen has no loss to log
    if len(values) <= MOST_GROUPS_LOGGED:
        return {f"{prefix}/{names[group]}": float(values[group]) for group in known}
    entry: dict[str, float] = {}
    if len(known) > 0:
        for extreme, place in (("min", values[known].argmin()), ("max", values[known].argmax())):
            group = known[place]
            entry |= {f"{prefix}/{extreme}": float(values[group]), f"{prefix}/{extreme}_group": float(group)}
    return entry
