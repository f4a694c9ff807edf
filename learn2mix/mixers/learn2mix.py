"""The mix follows the losses: Learn2Mix (Venkatasubramanian and Tarokh, arXiv 2412.16482)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from learn2mix.checks import as_number, check_mixing_rate, check_whole
from learn2mix.functional import fading, update_proportions
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.fading import check_passes, refuse_unknown_sizes
from learn2mix.mixers.mixes import plain_request, starting_mix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from learn2mix.checks import Vector
    from learn2mix.mixers.info import MixInfo

__all__ = ["Learn2Mix"]


class Learn2Mix(Mixer):
    r"""Gives the groups with larger losses more of the next batches.

    .. math:: a \leftarrow a + \gamma \left( \frac{L}{\lVert L \rVert_1} - a \right)

    with the mean training losses ``L`` of the groups since the last update (Algorithm 2 of the paper), or with what the
    last validation run gave for each group. A group that was not seen keeps its share.

    With ``passes=R`` the weight of a group fades as its samples are repeated, and ``memory`` smooths the losses:

    .. math:: a \leftarrow a + \gamma \left( \frac{S}{\lVert S \rVert_1} - a \right), \qquad
        S_i = L_i \, e^{-(r_i - \min_j r_j) / R}

    with ``r`` the passes over each group so far. On long-tailed classes, train with :class:`learn2mix.MixAdjustedLoss`
    then: without its correction the classes that fade are lost (docs/long-tails.md).

    ``signal="validation"`` follows held-out data: a loss per group, or any score of at least 0 that is larger where
    more is left to learn, such as 1 - recall.

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
        passes: ``R`` above 0; None is the paper, in which repeats do not count. Groups must have known sizes.
        memory: share in [0, 1) of the losses before in those that the rule uses, ``L <- memory L + (1 - memory) new``;
            then a group that was not seen counts by its last losses. 0 is the paper.
        most: largest share of each group, at least ``1 / num_groups``.

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

    _remembered: Vector | None = None  # losses, where they have a memory

    def __init__(
        self,
        mixing_rate: float = 0.1,
        *,
        every: int | str = "step",
        initial: Mapping[Any, float] | str | Sequence[float] | ArrayLike | None = None,
        floor: float = 0.0,
        signal: str = "train",
        passes: float | None = None,
        memory: float = 0.0,
        most: float = 1.0,
    ) -> None:
        self.mixing_rate = check_mixing_rate(mixing_rate)
        self.every = _check_every(every)
        self.floor, self.most = _check_floor(floor), most
        self.passes = None if passes is None else check_passes(passes)
        self.memory = _check_memory(memory)
        self.signal = _check_signal(signal, self.every)
        self.needs_losses = signal == "train"
        self.needs_validation = "group_losses" if signal == "validation" else None
        self.min_groups = 2 if signal == "train" else 1
        self._initial = initial
        if signal == "validation" and self.passes is not None:
            raise ValueError('passes: repeats count with signal="train" only; leave one of the two out')

    def initial_proportions(self, prior: Vector) -> Vector:  # noqa: D102
        self._remembered = None
        if self.passes is not None:
            refuse_unknown_sizes(self.sizes, self.group_names, "Learn2Mix(passes=...)")
        return starting_mix(self._initial, prior, "initial", self.group_names)

    def due(self, num_batches: int, epoch_ended: bool) -> bool:  # noqa: D102
        if self.signal == "validation":
            return False
        if isinstance(self.every, int):
            return num_batches >= self.every
        return epoch_ended or self.every == "step"

    def update(self, losses: Vector, info: MixInfo | None = None) -> None:  # noqa: D102
        losses = np.where(self.prior > 0, losses, np.nan)  # a group without samples gets none, whatever is said of it
        if self.memory > 0:
            losses = self._remembered = (
                losses if self._remembered is None else remember(self._remembered, losses, self.memory)
            )
        if self.passes is not None:
            if info is None:
                raise ValueError("info must be given to update(losses, info) where passes are counted")
            losses = losses * fading(info.draws, info.sizes, self.passes)
        self.proportions = update_proportions(self.proportions, losses, self.mixing_rate, floor=self.floor)

    def observe_validation(self, loss: float, group_losses: Vector | None = None) -> None:  # noqa: D102
        if self.signal != "validation":
            return
        if group_losses is None:
            raise ValueError('group_losses: Learn2Mix(signal="validation") needs one value a group, got None')
        self.update(group_losses)

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return super().settings() | {"initial": plain_request(self._initial, self._group_names)}

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        if self._remembered is None or self.memory == 0:
            return super().state_dict()
        remembered = [None if np.isnan(loss) else loss for loss in self._remembered.tolist()]
        return super().state_dict() | {"remembered": remembered}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        super().load_state_dict(state)
        losses = state.get("remembered")
        if losses is not None and len(losses) == len(self.prior):
            self._remembered = np.array([np.nan if loss is None else loss for loss in losses])


def remember(before: Vector, losses: Vector, memory: float) -> Vector:
    """Return ``memory * before + (1 - memory) * losses``; where one of the two is NaN, the other.

    Example:
        >>> remember(np.array([1.0, 1.0, np.nan]), np.array([2.0, np.nan, 4.0]), memory=0.9)
        array([1.1, 1. , 4. ])
    """
    mean = memory * before + (1 - memory) * losses
    return np.where(np.isnan(before), losses, np.where(np.isnan(losses), before, mean))


def _check_memory(value: float) -> float:
    number = as_number(value, "memory", "of at least 0 and below 1")
    if not 0 <= number < 1:
        raise ValueError(f"memory must be at least 0 and below 1, got {value!r}")
    return number


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
