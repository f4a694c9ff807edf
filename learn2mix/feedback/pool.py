"""What was observed since the last update: the losses of each group, and what the batches were asked to be."""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple

import numpy as np
import torch

from learn2mix.checks import Counts, Vector, frozen, on_the_host, total
from learn2mix.mixers.info import MixInfo


class Drawn(NamedTuple):
    """A batch as its mixer is told of it; what the fields mean is said in :class:`~learn2mix.mixers.info.MixInfo`."""

    proportions: Vector
    draws: Counts  # up to this batch
    sizes: Vector
    batch_size: int


class Pool:
    """Sums and counts of the losses of each group, each of shape ``(num_groups,)``, and the batches that they are of.

    Arrays that it is given are kept and not written to.
    """

    def __init__(self, drawn: Drawn) -> None:
        self._drawn = drawn  # the batch counted last
        self._nothing = frozen(np.zeros(len(drawn.sizes)))
        self._mixes: Vector = self._nothing  # sum of what the batches were asked to be
        self.num_observed = 0  # batches
        self._set(self._nothing, self._nothing)

    def _set(self, sums: Vector, counts: Vector | Counts) -> None:
        self._sums, self._counts = sums, counts
        self.num_seen = int(np.count_nonzero(counts))  # groups that had a sample

    def count(self, drawn: Drawn | None) -> None:
        """Count a batch as observed."""
        self._drawn = drawn or self._drawn
        self.num_observed += 1
        self._mixes = self._drawn.proportions if self.num_observed == 1 else self._mixes + self._drawn.proportions

    def add(self, sums: Vector, counts: Vector | Counts) -> bool:
        """Add the losses of a batch; False, and nothing is added, unless the sums are finite then."""
        if self.num_seen:
            with np.errstate(over="ignore"):
                sums, counts = self._sums + sums, self._counts + counts
        if not isfinite(total(sums)) and not np.isfinite(sums).all():
            return False
        if counts.dtype.kind == "f" and not np.isfinite(counts).all():  # sums of weights
            return False
        self._set(sums, counts)
        return True

    def pop(self, num_updates: int) -> tuple[Vector, Vector, MixInfo] | None:
        """Return sum and mean of each group's losses, NaN where none was seen, and what a mixer is told; begin anew.

        None where the losses of none of the batches are known.
        """
        sums, counts, mixes, num_observed = self._sums, self._counts.astype(np.float64), self._mixes, self.num_observed
        num_seen, self._mixes, self.num_observed = self.num_seen, self._nothing, 0
        self._sums, self._counts, self.num_seen = self._nothing, self._nothing, 0
        if not num_seen:
            return None
        if num_seen == len(counts):
            means = sums / counts
        else:
            with np.errstate(invalid="ignore"):
                means = sums / counts  # 0 / 0 is NaN: not seen
        mix = mixes / num_observed if num_observed > 1 else mixes
        _, draws, sizes, batch_size = self._drawn
        return sums, means, MixInfo(counts, mix, frozen(draws), sizes, batch_size, num_updates)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers, lists and tensors."""
        sums = {"sums": self._sums, "counts": self._counts} if self.num_seen else {}
        return {
            "pool": {name: torch.from_numpy(values.astype(np.float64)) for name, values in sums.items()},
            # As lists too, always there: torch.distributed.checkpoint loads only what the state of a new object names.
            "pooled": [values.tolist() for values in sums.values()],
            "num_observed": self.num_observed,
            "mix_sum": self._mixes.tolist(),
            "draws": self._drawn.draws.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, also of an earlier version, from any device."""
        nothing = self._nothing.tolist()
        pool = dict(zip(("sums", "counts"), state.get("pooled") or (), strict=False)) or state["pool"]
        sums, counts = (
            np.array(on_the_host(pool.get(name, nothing), name), dtype=np.float64) for name in ("sums", "counts")
        )
        self._set(sums, counts)
        self.num_observed = state["num_observed"]
        self._mixes = np.array(state.get("mix_sum", nothing))
        self._drawn = self._drawn._replace(draws=np.array(state.get("draws", nothing), dtype=np.int64))
