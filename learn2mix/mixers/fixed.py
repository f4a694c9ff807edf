"""A mix that stays: classical proportions, balanced classes, or any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from learn2mix.mixers.base import Mixer, starting_mix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from learn2mix.checks import Vector

__all__ = ["FixedMix"]


class FixedMix(Mixer):
    """Keeps the same proportions for the whole run.

    Args:
        proportions: None for the data's own, ``"uniform"`` for the same share a group, or a vector of shape
            ``(num_groups,)`` that sums to 1.

    Raises:
        ValueError: when it is attached, if ``proportions`` is no mix of the groups.
        TypeError: when it is attached, if they are no vector of numbers.

    Example:
        >>> mixer = FixedMix("uniform")
        >>> mixer.attach([0.9, 0.1], ["cat", "dog"])
        >>> mixer.proportions
        array([0.5, 0.5])
    """

    def __init__(self, proportions: str | Sequence[float] | ArrayLike | None = None) -> None:
        self._asked = proportions

    def initial_proportions(self, prior: Vector) -> Vector:  # noqa: D102
        return starting_mix(self._asked, prior, "proportions", self.group_names)
