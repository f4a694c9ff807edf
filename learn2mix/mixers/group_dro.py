"""The groups with the largest losses get most: group DRO by sampling (Sagawa et al., arXiv 1911.08731)."""

from __future__ import annotations

from typing import Any

import numpy as np

from learn2mix.checks import Vector, check_above_zero
from learn2mix.functional import exponentiate
from learn2mix.mixers.following import Following
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import MixLike


class GroupDRO(Following):
    r"""Follows the worst groups by exponentiated gradient ascent (Algorithm 1 of the paper).

    .. math:: a_i \leftarrow \frac{a_i \, e^{\eta S_i}}{\sum_j a_j \, e^{\eta S_j}}, \qquad
        S_i = L_i + \frac{C}{\sqrt{n_i}}

    The paper weights the losses of a group by ``a``; here its samples are drawn by it, which has the same gradient on
    average. A group that was not seen keeps its share.

    Args:
        step_size: ``eta``, above 0.
        adjustment: ``C``, at least 0: groups of few samples ``n``, which are fitted soonest, count for more.
        initial: the mix to start with, as :class:`learn2mix.FixedMix` takes it; uniform in the paper.
        settings: ``every``, ``memory`` (the smoothing of the losses), ``floor`` and ``most``, as of
            :class:`learn2mix.Learn2Mix`.

    Raises:
        ValueError: if an argument is out of range; when it is attached, if the size of a group is not known though
            ``adjustment`` is above 0.

    Example:
        >>> mixer = GroupDRO(step_size=1.0)
        >>> mixer.attach([0.9, 0.1], ["land", "water"])
        >>> mixer.update(np.array([0.0, np.log(3.0)]))
        >>> mixer.proportions
        array([0.25, 0.75])
    """

    def __init__(
        self,
        step_size: float = 0.01,
        *,
        adjustment: float = 0.0,
        initial: MixLike = "uniform",
        **settings: Any,
    ) -> None:
        super().__init__(initial=initial, **settings)
        self.step_size = check_above_zero(step_size, "step_size")
        self.adjustment = check_above_zero(adjustment, "adjustment", or_zero=True)

    def initial_proportions(self, prior: Vector) -> Vector:
        if self.adjustment > 0:
            self._check_sizes_known("GroupDRO(adjustment=...)")
        return super().initial_proportions(prior)

    def move(self, losses: Vector, info: MixInfo | None) -> None:
        if self.adjustment > 0:
            losses = losses + self.adjustment / np.sqrt(np.maximum(self.sizes, 1))
        self.proportions = exponentiate(self.proportions, self.step_size * losses)
