"""A mix that stays: classical proportions, balanced classes, or any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from learn2mix.checks import check_power
from learn2mix.functional import temper
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.mixes import plain_request, starting_mix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from learn2mix.checks import Vector

__all__ = ["FixedMix"]


class FixedMix(Mixer):
    """Keeps the same proportions for the whole run.

    Args:
        proportions: None for the data's own, ``"uniform"`` for the same share a group, a vector of shape
            ``(num_groups,)`` that sums to 1, or a mapping that gives each group its share by name.

    Raises:
        ValueError: when it is attached, if ``proportions`` is no mix of the groups, or names others.
        TypeError: when it is attached, if they are no vector of numbers.

    Example:
        >>> mixer = FixedMix("uniform")
        >>> mixer.attach([0.9, 0.1], ["cat", "dog"])
        >>> mixer.proportions
        array([0.5, 0.5])
        >>> mixer = FixedMix({"dog": 0.7, "cat": 0.3})
        >>> mixer.attach([0.9, 0.1], ["cat", "dog"])
        >>> mixer.proportions
        array([0.3, 0.7])
    """

    _power: float | None = None  # of the data's own shares

    def __init__(self, proportions: Mapping[Any, float] | str | Sequence[float] | ArrayLike | None = None) -> None:
        self._asked = proportions

    @classmethod
    def tempered(cls, power: float = 0.5) -> FixedMix:
        """Make a mix of shares in proportion to the groups' sizes, each raised to a power.

        Args:
            power: any finite number; 1 is the data's own mix, 0 the uniform one, between them small groups get more
                than the data give them and less than large ones.

        Raises:
            ValueError: if it is not finite.
            TypeError: if it is no number.

        Example:
            >>> mixer = FixedMix.tempered(power=0.5)
            >>> mixer.attach([0.9, 0.1], ["cat", "dog"])
            >>> mixer.proportions
            array([0.75, 0.25])
        """
        mixer = cls()
        mixer._power = check_power(power)
        return mixer

    def initial_proportions(self, prior: Vector) -> Vector:  # noqa: D102
        if self._power is None:
            self._mix = starting_mix(self._asked, prior, "proportions", self.group_names)
        else:
            self._mix = temper(prior, self._power)
        return self._mix

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return {"proportions": plain_request(self._asked, self._group_names), "power": self._power}

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        assigned = self._proportions is not None and not np.array_equal(self._proportions, self._mix)
        return super().state_dict() | {"assigned": assigned}

    def _takes_mix_of(self, state: dict[str, Any]) -> bool:
        return bool(state.get("assigned", True)) and not self._differences(state)
