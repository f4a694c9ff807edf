"""A mix that stays: classical proportions, balanced classes, any other, or one that a formula makes of the sizes."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from learn2mix.checks import Vector, check_above_zero, check_power, check_share
from learn2mix.functional import effective_numbers, temper, unimax
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.mixes import MixLike, as_given, plain_request, starting_mix


class FixedMix(Mixer):
    """Keeps the same proportions for the whole run.

    Args:
        proportions: None for the data's own, ``"uniform"`` for equal shares, a vector of shape
            ``(num_groups,)`` that sums to 1, or a mapping that gives each group its share by name; it must name every
            group, and 0 leaves one out.

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

    _formula: partial[Vector] | None = None  # of the prior or the sizes

    def __init__(self, proportions: MixLike = None) -> None:
        self._asked = as_given(proportions)

    @classmethod
    def tempered(cls, power: float = 0.5) -> FixedMix:
        """Make a mix of shares in proportion to the groups' sizes, each raised to a power.

        Args:
            power: any finite number, ``1 / T`` for a sampling temperature ``T``; 1 is the data's own mix, 0 the uniform
                one, between them small groups get more than the data give them and less than large ones.

        Raises:
            ValueError: if it is not finite.
            TypeError: if it is no number.

        Example:
            >>> mixer = FixedMix.tempered(power=0.5)
            >>> mixer.attach([0.9, 0.1], ["cat", "dog"])
            >>> mixer.proportions
            array([0.75, 0.25])
        """
        return cls._by(partial(temper, power=check_power(power)))

    @classmethod
    def unimax(cls, budget: float, *, passes: float) -> FixedMix:
        """Make the most even mix at which a budget draws no group more than ``passes`` times over (Chung et al. 2023).

        Args:
            budget: samples to be drawn in the whole run: batches x global batch size.
            passes: the most passes over a group, above 0.

        Example:
            >>> mixer = FixedMix.unimax(budget=120, passes=2)
            >>> mixer.attach([0.9, 0.1], ["en", "is"], sizes=[180, 20])
            >>> mixer.proportions.round(3)
            array([0.667, 0.333])
        """
        budget, passes = check_above_zero(budget, "budget"), check_above_zero(passes, "passes")
        return cls._by(partial(unimax, budget=budget, passes=passes))

    @classmethod
    def effective_number(cls, beta: float = 0.999) -> FixedMix:
        """Make the mix at which classes count as with class-balanced weights by effective numbers (Cui et al. 2019).

        Args:
            beta: in [0, 1): 0 is the data's own mix, near 1 the uniform one.

        Example:
            >>> mixer = FixedMix.effective_number(beta=0.99)
            >>> mixer.attach([0.9, 0.1], ["cat", "dog"], sizes=[900, 100])
            >>> mixer.proportions.round(3)
            array([0.851, 0.149])
        """
        return cls._by(partial(effective_numbers, beta=check_share(beta, "beta")))

    @classmethod
    def _by(cls, formula: partial[Vector]) -> FixedMix:
        mixer = cls()
        mixer._formula = formula
        return mixer

    def initial_proportions(self, prior: Vector) -> Vector:
        if self._formula is None:
            self._mix = starting_mix(self._asked, prior, "proportions", self.group_names)
        elif self._formula.func is temper:
            if self._sizes_given and self._formula.keywords["power"]:
                self._check_sizes_known("FixedMix.tempered")
            self._mix = self._formula(prior)
        else:
            self._check_sizes_known(f"FixedMix: {self._formula.func.__name__}")
            self._mix = self._formula(self.sizes)
        return self._mix

    def settings(self) -> dict[str, Any]:
        formula = {} if self._formula is None else self._formula.keywords
        return {"proportions": plain_request(self._asked, self._group_names), "power": None} | formula

    def state_dict(self) -> dict[str, Any]:
        assigned = self._proportions is not None and not np.array_equal(self._proportions, self._mix)
        return super().state_dict() | {"assigned": assigned}

    def _mix_of(self, state: dict[str, Any]) -> Any:
        goes_on = state.get("assigned", True) and not self._differences(state)
        return super()._mix_of(state) if goes_on else self._mix
