"""The mix moves from one distribution to another along a schedule (Foreman, 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from learn2mix.checks import check_whole
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.mixes import plain_request, starting_mix
from learn2mix.mixers.schedules import Schedule, describe, evaluate, find_schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from learn2mix.checks import Vector
    from learn2mix.mixers.info import MixInfo

__all__ = ["AnnealedMix"]


class AnnealedMix(Mixer):
    r"""Anneals from one mix to another.

    .. math:: a_t = (1 - s_t)\, a_{start} + s_t\, a_{end}, \qquad s_t = s\left(\tfrac{t}{N - 1}\right)

    for batch ``t`` of ``num_steps = N``, counted over all epochs; afterwards the mix stays at ``end``. From one batch
    to the next it changes by the change of the schedule ``s`` times the distance of the two mixes, so a smooth
    schedule gives a smooth mix; and where ``start`` and ``end`` give every group a share, so does every mix between
    them. Follows the batches composed, so that no lag can shift it. Two data sets X and Y with
    ``B_t = gamma_t X + (1 - gamma_t) Y`` are the mixes ``[gamma_t, 1 - gamma_t]``.

    Args:
        start: the first mix: a vector of shape ``(num_groups,)`` that sums to 1, a mapping that gives each group its
            share by name, ``"uniform"``, or None for the data's own.
        end: the last mix, in the same ways.
        num_steps: batches from the first mix to the last, both included, at least 1; 1 begins at the end.
        schedule: ``"linear"``, ``"cosine"``, or a function of progress in [0, 1] that stays in [0, 1].

    Raises:
        ValueError: if ``num_steps`` is below 1, the schedule is unknown or leaves [0, 1]; when it is attached, if a
            mix does not fit the groups.
        TypeError: if ``num_steps`` is not whole or the schedule is neither a name nor a function.

    Example:
        >>> mixer = AnnealedMix([0.9, 0.1], [0.1, 0.9], num_steps=5)
        >>> mixer.attach([0.5, 0.5], ["easy", "hard"])
        >>> mixer.seek(batch=1, epoch=0)
        >>> mixer.proportions
        array([0.7, 0.3])
    """

    def __init__(
        self,
        start: Mapping[Any, float] | str | Sequence[float] | ArrayLike | None = None,
        end: Mapping[Any, float] | str | Sequence[float] | ArrayLike | None = None,
        *,
        num_steps: int,
        schedule: Schedule | str = "linear",
    ) -> None:
        self._asked_start, self._asked_end = start, end
        self.num_steps = check_whole(num_steps, "num_steps")
        self.schedule = find_schedule(schedule)
        self._batch = 0  # the newest that was asked for

    def initial_proportions(self, prior: Vector) -> Vector:  # noqa: D102
        self._start = starting_mix(self._asked_start, prior, "start", self.group_names)
        self._end = starting_mix(self._asked_end, prior, "end", self.group_names)
        return self._at(0)

    def seek(self, batch: int, epoch: int, info: MixInfo | None = None) -> None:  # noqa: D102
        self._batch, self.proportions = batch, self._at(batch)

    def settings(self) -> dict[str, Any]:  # noqa: D102
        return {
            "start": plain_request(self._asked_start, self._group_names),
            "end": plain_request(self._asked_end, self._group_names),
            "num_steps": self.num_steps,
            "schedule": describe(self.schedule),
        }

    def state_dict(self) -> dict[str, Any]:  # noqa: D102
        return super().state_dict() | {"batch": self._batch}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: D102
        super().load_state_dict(state)
        if "batch" in state:  # else of an earlier version
            self.seek(state["batch"], epoch=0)

    def _takes_mix_of(self, state: dict[str, Any]) -> bool:
        return "batch" not in state

    def _at(self, batch: int) -> Vector:
        progress = min(batch / (self.num_steps - 1), 1.0) if self.num_steps > 1 else 1.0
        value = evaluate(self.schedule, progress)
        mix: Vector = (1 - value) * self._start + value * self._end  # so that 0 and 1 give the two mixes bit for bit
        return mix
