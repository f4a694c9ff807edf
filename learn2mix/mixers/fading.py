"""The mix follows how often the samples of each group were repeated."""

from __future__ import annotations

from typing import Any

from learn2mix.checks import Vector, check_mixing_rate, check_passes
from learn2mix.functional import fading
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import MixLike, as_given, plain_request, starting_mix


class FadingMix(Mixer):
    r"""Begins balanced, and moves towards the data's own mix as the small groups are repeated.

    .. math:: a_{t+1} = a_t + \gamma \left( \frac{S}{\lVert S \rVert_1} - a_t \right), \qquad
        S_i = e^{-(r_i - \min_j r_j) / R}

    with ``r`` the passes over each group before batch ``t + 1``. Short runs stay near the uniform mix, long ones come
    near the data's own, without being told their length. It needs no losses, so it has no lag and no ``observe``.

    Train with :class:`learn2mix.MixAdjustedLoss`: without its correction, the network loses the classes that fade
    (docs/long-tails.md). :class:`learn2mix.Learn2Mix` with ``passes=R`` is the same rule with losses.

    Args:
        passes: ``R`` above 0: a group with so many passes more than the one with fewest keeps ``1 / e`` of its weight.
        mixing_rate: step size ``gamma`` per batch, in [0, 1].
        initial: the mix to start with, as :class:`learn2mix.FixedMix` takes it.
        floor: least share of each group, at least 0 and at most ``1 / num_groups``.
        most: largest share of each group, at least ``1 / num_groups``.

    Raises:
        ValueError: if an argument is out of range; when it is attached, if the size of a group is not known, or
            ``initial``, ``floor`` or ``most`` do not fit the groups.
        TypeError: if an argument is no number.

    Example:
        >>> from learn2mix import MixedBatchSampler
        >>> sampler = MixedBatchSampler([0] * 90 + [1] * 10, FadingMix(passes=2.0), batch_size=20)
        >>> _ = list(sampler)  # an epoch
        >>> sampler.mixer.proportions.round(2)
        array([0.58, 0.42])
    """

    def __init__(
        self,
        passes: float = 15.0,
        *,
        mixing_rate: float = 0.1,
        initial: MixLike = "uniform",
        floor: float = 0.0,
        most: float = 1.0,
    ) -> None:
        self.passes, self.mixing_rate = check_passes(passes), check_mixing_rate(mixing_rate)
        self.floor, self.most = floor, most
        self._initial = as_given(initial)

    def initial_proportions(self, prior: Vector) -> Vector:
        self._check_sizes_known("FadingMix")
        return starting_mix(self._initial, prior, "initial", self.group_names)

    def seek(self, batch: int, epoch: int, info: MixInfo | None = None) -> None:
        if info is None:
            raise ValueError("info must be given to seek(batch, epoch, info): FadingMix follows what was drawn")
        if batch == 0:
            self.proportions = self.initial_proportions(self.prior)
            return
        left = fading(info.draws, info.sizes, self.passes)
        self.proportions = info.proportions + self.mixing_rate * (left / left.sum() - info.proportions)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"initial": plain_request(self._initial, self._group_names)}
