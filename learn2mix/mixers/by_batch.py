"""What rules have in common whose mix is known from the number of the batch."""

from __future__ import annotations

from typing import Any

from learn2mix.checks import Vector
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.info import MixInfo


class ByBatch(Mixer):
    """A rule that overrides :meth:`_at`; it follows the batches composed, so that no lag can shift it."""

    _batch = 0  # the newest that was asked for

    def _at(self, batch: int) -> Vector:
        """Return the mix of a batch, counted from 0 over all epochs."""
        raise NotImplementedError

    def seek(self, batch: int, epoch: int, info: MixInfo | None = None) -> None:
        self._batch, self.proportions = batch, self._at(batch)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"batch": self._batch}

    def _mix_of(self, state: dict[str, Any]) -> Any:
        if "batch" not in state:  # of an earlier version
            return super()._mix_of(state)
        self._batch = state["batch"]
        return self._at(self._batch)
