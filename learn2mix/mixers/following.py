"""What rules have in common that follow the losses of the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.checks import Vector, as_losses, as_number, check_whole
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import plain_request, starting_mix

__all__ = ["Following", "check_above_zero", "remember"]


class Following(Mixer):
    """A rule that overrides :meth:`move`, which gets the losses since the last move, smoothed by ``memory``.

    Args:
        every: when to move: ``"step"`` after each observed batch, ``"epoch"``, or a number of batches. A move waits
            until two groups were seen, because the loss of one alone says nothing, or until the epoch ends.
        initial: the mix to start with: None for the data's own, ``"uniform"``, a vector of shape ``(num_groups,)`` that
            sums to 1, or a mapping that gives each group its share by name.
        memory: weight in [0, 1) of the earlier losses: ``L <- memory L + (1 - memory) new``; a group that was not seen
            keeps its earlier loss. 0 forgets them.
        floor: least share of each group, at least 0 and at most ``1 / num_groups``; a mix that is asked for, assigned
            or loaded is raised to it.
        most: largest share of each group, at least ``1 / num_groups`` and at most 1.

    Raises:
        ValueError: if an argument is out of range; when it is attached, if ``initial``, ``floor`` or ``most`` do not
            fit the groups.
        TypeError: if an argument is no number, or ``every`` neither a name nor a whole number.
    """

    needs_losses = True
    min_groups = 2
    _remembered: Vector | None = None  # losses

    def __init__(
        self,
        *,
        every: int | str = "step",
        initial: Mapping[Any, float] | str | Sequence[float] | ArrayLike | None = None,
        memory: float = 0.0,
        floor: float = 0.0,
        most: float = 1.0,
    ) -> None:
        self.every = _check_every(every)
        self.memory = check_share(memory, "memory")
        self.floor, self.most = _check_floor(floor), most
        self._initial = initial

    def move(self, losses: Vector, info: MixInfo | None) -> None:
        """Assign ``self.proportions``.

        Args:
            losses: shape ``(num_groups,)``, NaN for a group that was not seen or has no samples.
            info: as :meth:`Mixer.update` gets it.
        """
        raise NotImplementedError

    def initial_proportions(self, prior: Vector) -> Vector:  # noqa: D102
        self._remembered = None
        return starting_mix(self._initial, prior, "initial", self.group_names)

    def due(self, num_batches: int, epoch_ended: bool) -> bool:  # noqa: D102
        if isinstance(self.every, int):
            return self.needs_losses and num_batches >= self.every
        return self.needs_losses and (epoch_ended or self.every == "step")

    def update(self, losses: Vector, info: MixInfo | None = None) -> None:  # noqa: D102
        losses = as_losses(losses, len(self._attached(self._prior)), signed=self.signed)
        if self._has_empty:  # such a group gets none, whatever is said of it
            losses = np.where(self.prior > 0, losses, np.nan)
        if self.memory > 0:
            losses = remember(self._remembered, losses, self.memory)
            self._remembered = losses.copy()
        self.move(losses, info)

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return super().settings() | {"initial": plain_request(self._initial, self._group_names)}

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return super().state_dict() | self._list("remembered", self._remembered)

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
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


def check_above_zero(value: float, name: str, *, or_zero: bool = False) -> float:
    """Return ``value`` if it is a finite number above 0, or 0 where that is allowed, else raise an error."""
    rule = "of at least 0" if or_zero else "above 0"
    number = as_number(value, name, rule)
    if not (0 < number < np.inf or (or_zero and number == 0)):
        raise ValueError(f"{name} must be {rule} and finite, got {value!r}")
    return number


def check_share(value: float, name: str) -> float:
    """Return ``value`` if it is a number of at least 0 and below 1, else raise an error."""
    number = as_number(value, name, "of at least 0 and below 1")
    if not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return number


def _check_floor(value: float) -> float:
    number = as_number(value, "floor", "of at least 0 and at most 1 / num_groups")
    if not 0 <= number <= 1:
        raise ValueError(f"floor must be at least 0 and at most 1 / num_groups, got {value!r}")
    return number


def _check_every(value: str | int) -> str | int:
    if isinstance(value, str):
        if value not in ("step", "epoch"):
            raise ValueError(f'every must be "step", "epoch" or a number of steps, got {value!r}')
        return value
    return check_whole(value, "every")
