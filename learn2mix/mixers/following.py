"""What rules have in common that follow the losses of the groups."""

from __future__ import annotations

from typing import Any

import numpy as np

from learn2mix.checks import Vector, as_losses, check_every, check_floor, check_share
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import MixLike, as_given, plain_request, starting_mix


class Following(Mixer):
    """A rule that overrides :meth:`move`, which gets the losses since the last move, smoothed by ``memory``.

    The arguments are those of :class:`learn2mix.Learn2Mix`.
    """

    needs_losses = True
    min_groups = 2
    _remembered: Vector | None = None  # losses

    def __init__(
        self,
        *,
        every: int | str = "step",
        initial: MixLike = None,
        memory: float = 0.0,
        floor: float = 0.0,
        most: float = 1.0,
    ) -> None:
        self.every = check_every(every, ("step", "epoch"), "steps")
        self.memory = check_share(memory, "memory")
        self.floor, self.most = check_floor(floor), most
        self._initial = as_given(initial)

    def move(self, losses: Vector, info: MixInfo | None) -> None:
        """Assign ``self.proportions``.

        Args:
            losses: shape ``(num_groups,)``, NaN for a group that was not seen or has no samples.
            info: as :meth:`Mixer.update` gets it.
        """
        raise NotImplementedError

    def initial_proportions(self, prior: Vector) -> Vector:
        self._remembered = None
        return starting_mix(self._initial, prior, "initial", self.group_names)

    def due(self, num_batches: int, epoch_ended: bool) -> bool:
        if isinstance(self.every, int):
            return self.needs_losses and num_batches >= self.every
        return self.needs_losses and (epoch_ended or self.every == "step")

    def update(self, losses: Vector, info: MixInfo | None = None) -> None:
        losses = as_losses(losses, len(self._attached(self._prior)), signed=self.signed)
        if self._has_empty:  # such a group gets none, whatever is said of it
            losses = np.where(self.prior > 0, losses, np.nan)
        if self.memory > 0:
            losses = remember(self._remembered, losses, self.memory)
            self._remembered = losses.copy()
        self.move(losses, info)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"initial": plain_request(self._initial, self._group_names)}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | self._list("remembered", self._remembered)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._remembered = self._vector(state, "remembered")

    def _list(self, name: str, values: Vector | None) -> dict[str, Any]:
        """Return an entry of a state, None for NaN; the entry is None where there are no values."""
        return {name: values if values is None else [None if np.isnan(one) else one for one in values.tolist()]}

    def _vector(self, state: dict[str, Any], name: str) -> Vector | None:
        """Return what :meth:`_list` made an entry of; None where there is none, or it is of other groups."""
        values = state.get(name)
        if values is None or len(values) != len(self.prior):
            return None
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def remember(before: Vector | None, losses: Vector, memory: float) -> Vector:
    """Return ``memory * before + (1 - memory) * losses``; where one of the two is NaN, the other.

    Example:
        >>> remember(np.array([1.0, 1.0, np.nan]), np.array([2.0, np.nan, 4.0]), memory=0.9)
        array([1.1, 1. , 4. ])
    """
    if before is None:
        return losses
    mean = memory * before + (1 - memory) * losses
    return np.where(np.isnan(before), losses, np.where(np.isnan(losses), before, mean))
