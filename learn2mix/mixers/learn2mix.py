"""The mix follows the losses: Learn2Mix (Venkatasubramanian and Tarokh, arXiv 2412.16482)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from learn2mix.checks import as_number, check_mixing_rate, check_whole
from learn2mix.functional import raise_to_floor, update_proportions
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.mixes import starting_mix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from learn2mix.checks import Vector

__all__ = ["Learn2Mix"]


class Learn2Mix(Mixer):
    r"""Gives the groups with larger losses more of the next batches.

    .. math:: a \leftarrow a + \gamma \left( \frac{L}{\lVert L \rVert_1} - a \right)

    with the mean training losses ``L`` of the groups since the last update (Algorithm 2 of the paper), or with what the
    last validation run gave for each group. A group that was not seen keeps its share.

    A group learned by heart has a low training loss, and still needs samples where held-out data say so: that is what
    ``signal="validation"`` is for. It takes a loss a group, or any score of at least 0 that is larger where more is
    left to learn, such as 1 - recall.

    Args:
        mixing_rate: step size ``gamma`` in [0, 1]; the authors advise 0.01 to 0.1. 0 is training at fixed proportions.
        every: when to update: ``"step"`` after each observed batch, ``"epoch"`` (the paper), or a number of batches. An
            update waits until two groups were seen, for the loss of one alone moves nothing, unless the epoch ends. Not
            used with ``signal="validation"``: that updates after each validation run.
        initial: the mix to start with: None for the data's own (the paper), ``"uniform"``, a vector of shape
            ``(num_groups,)`` that sums to 1, or a mapping that gives each group its share by name.
        floor: least share of each group, at least 0 and at most ``1 / num_groups``; a mix that is asked for, assigned
            or loaded is raised to it.
        signal: what it follows: ``"train"``, the losses of the batches, or ``"validation"``, the ``group_losses`` given
            to ``observe_validation``.

    Raises:
        ValueError: if an argument is out of range; when it is attached, if ``initial`` or ``floor`` do not fit the
            groups.
        TypeError: if ``every`` is neither a name nor a whole number, or ``mixing_rate`` or ``floor`` is no number.

    Example:
        >>> mixer = Learn2Mix(mixing_rate=0.5)
        >>> mixer.attach([0.9, 0.1], ["cat", "dog"])
        >>> mixer.update(np.array([1.0, 3.0]))
        >>> mixer.proportions
        array([0.575, 0.425])
    """

    def __init__(
        self,
        mixing_rate: float = 0.1,
        *,
        every: int | str = "step",
        initial: Mapping[Any, float] | str | Sequence[float] | ArrayLike | None = None,
        floor: float = 0.0,
        signal: str = "train",
    ) -> None:
        self.mixing_rate = check_mixing_rate(mixing_rate)
        self.every = _check_every(every)
        self.floor = _check_floor(floor)
        self.signal = _check_signal(signal, self.every)
        self.needs_losses = signal == "train"
        self.needs_validation = "group_losses" if signal == "validation" else None
        self.min_groups = 2 if signal == "train" else 1
        self._initial = initial

    def initial_proportions(self, prior: Vector) -> Vector:  # noqa: D102
        num_present = np.count_nonzero(prior)
        if self.floor * num_present > 1:
            limit = 1 / num_present
            raise ValueError(f"floor must be at most 1 / num_groups = {limit:.4g}, got {self.floor}")
        return starting_mix(self._initial, prior, "initial", self.group_names)

    def _bounded(self, mix: Vector) -> Vector:
        present = self.prior > 0
        mix[present] = raise_to_floor(mix[present], self.floor)
        return mix

    def due(self, num_batches: int, epoch_ended: bool) -> bool:  # noqa: D102
        if self.signal == "validation":
            return False
        if isinstance(self.every, int):
            return num_batches >= self.every
        return epoch_ended or self.every == "step"

    def update(self, losses: Vector) -> None:  # noqa: D102
        losses = np.where(self.prior > 0, losses, np.nan)  # a group without samples gets none, whatever is said of it
        self.proportions = update_proportions(self.proportions, losses, self.mixing_rate, floor=self.floor)

    def observe_validation(self, loss: float, group_losses: Vector | None = None) -> None:  # noqa: D102
        if self.signal != "validation":
            return
        if group_losses is None:
            raise ValueError('group_losses: Learn2Mix(signal="validation") needs one value a group, got None')
        self.update(group_losses)


def _check_every(value: str | int) -> str | int:
    if isinstance(value, str):
        if value not in ("step", "epoch"):
            raise ValueError(f'every must be "step", "epoch" or a number of steps, got {value!r}')
        return value
    return check_whole(value, "every")


def _check_signal(signal: str, every: str | int) -> str:
    if signal not in ("train", "validation"):
        raise ValueError(f'signal must be "train" or "validation", got {signal!r}')
    if signal == "validation" and every != "step":
        raise ValueError(
            f'every: with signal="validation" the mix is updated after each validation run; leave it out, got {every!r}'
        )
    return signal


def _check_floor(value: float) -> float:
    number = as_number(value, "floor", "of at least 0 and at most 1 / num_groups")
    if not 0 <= number <= 1:
        raise ValueError(f"floor must be at least 0 and at most 1 / num_groups, got {value!r}")
    return number
