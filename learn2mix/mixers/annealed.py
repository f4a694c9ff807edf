"""The mix moves from one distribution to another along a schedule (Foreman, 2025)."""

from __future__ import annotations

from typing import Any

from learn2mix.checks import Vector, check_whole
from learn2mix.mixers.base import Mixer, load_state, state_of
from learn2mix.mixers.by_batch import ByBatch
from learn2mix.mixers.info import MixInfo, call
from learn2mix.mixers.mixes import MixLike, as_given, plain_request, starting_mix
from learn2mix.mixers.schedules import Schedule, describe, evaluate, find_schedule


class AnnealedMix(ByBatch):
    r"""Anneals from one mix to another.

    .. math:: a_t = (1 - s_t)\, a_{start} + s_t\, a_{end}, \qquad s_t = s\left(\tfrac{t}{N - 1}\right)

    for batch ``t`` of ``num_steps = N``, counted over all epochs; afterwards the mix stays at ``end``. From one batch
    to the next it changes by the change of the schedule ``s`` times the distance of the two mixes, so a smooth
    schedule gives a smooth mix; and where ``start`` and ``end`` give every group a share, so does every mix between
    them. Follows the batches composed, so that no lag can shift it. Two data sets X and Y with
    ``B_t = gamma_t X + (1 - gamma_t) Y`` are the mixes ``[gamma_t, 1 - gamma_t]``.

    Args:
        start: the first mix: a vector of shape ``(num_groups,)`` that sums to 1, a mapping that gives each group its
            share by name, ``"uniform"``, None for the data's own, or another mixer, whose mix may move.
        end: the last mix, in the same ways.
        num_steps: batches, not steps of the optimizer, from the first mix to the last, both included; 1 begins at the
            end.
        schedule: ``"linear"``, ``"cosine"``, or a function of progress in [0, 1] that stays in [0, 1].
        floor: least share of each group, at most ``1 / num_groups``.
        most: largest share of each group, at least ``1 / num_groups``.

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
        start: Mixer | MixLike = None,
        end: Mixer | MixLike = None,
        *,
        num_steps: int,
        schedule: Schedule | str = "linear",
        floor: float = 0.0,
        most: float = 1.0,
    ) -> None:
        self.floor, self.most = floor, most
        self._asked = {"start": as_given(start), "end": as_given(end)}
        self._mixers = {name: one for name, one in self._asked.items() if isinstance(one, Mixer)}
        if len(self._mixers) == 2 and start is end:
            raise ValueError("start and end must be two mixers, got the same one twice; make one for each")
        self._due: dict[str, bool] = {}  # which of them are to be updated
        self.num_steps = check_whole(num_steps, "num_steps")
        self.schedule = find_schedule(schedule)
        mixers = self._mixers.values()
        self.needs_losses = any(mixer.needs_losses for mixer in mixers)
        self.needs_validation = next((one.needs_validation for one in mixers if one.needs_validation), None)
        self.min_groups = max([1, *(mixer.min_groups for mixer in mixers)])
        self.signed = any(mixer.signed for mixer in mixers)

    def initial_proportions(self, prior: Vector) -> Vector:
        for mixer in self._mixers.values():
            mixer.attach(prior, self.group_names, owner=self, sizes=self.sizes if self._sizes_given else None)
        self._mixes = {
            name: None if isinstance(asked, Mixer) else starting_mix(asked, prior, name, self.group_names)
            for name, asked in self._asked.items()
        }
        return self._at(0)

    def seek(self, batch: int, epoch: int, info: MixInfo | None = None) -> None:
        for mixer in self._mixers.values():
            call(mixer.seek, batch, epoch, info=info)
        super().seek(batch, epoch, info)

    def due(self, num_batches: int, epoch_ended: bool) -> bool:
        self._due = {name: mixer.due(num_batches, epoch_ended) for name, mixer in self._mixers.items()}
        return epoch_ended or any(self._due.values())

    def update(self, losses: Vector, info: MixInfo | None = None) -> None:
        for name, mixer in self._mixers.items():
            if self._due.get(name):
                call(mixer.update, losses.copy(), info=info)
        self.proportions = self._at(self._batch)

    def observe_validation(self, loss: float, group_losses: Vector | None = None) -> None:
        for mixer in self._mixers.values():
            call(mixer.observe_validation, loss, group_losses)

    def settings(self) -> dict[str, Any]:
        ends = {
            name: type(asked).__name__ if name in self._mixers else plain_request(asked, self._group_names)
            for name, asked in self._asked.items()
        }
        return super().settings() | ends | {"schedule": describe(self.schedule)}

    def state_dict(self) -> dict[str, Any]:
        mixers = {name: state_of(mixer) for name, mixer in self._mixers.items()}
        return super().state_dict() | ({"mixers": mixers, "due": dict(self._due)} if mixers else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, saved in state.get("mixers", {}).items():
            if name in self._mixers:
                load_state(self._mixers[name], saved)
        self._due = dict(state.get("due", {}))
        super().load_state_dict(state)

    def _at(self, batch: int) -> Vector:
        progress = min(batch / (self.num_steps - 1), 1.0) if self.num_steps > 1 else 1.0
        value = evaluate(self.schedule, progress)
        start, end = (self._mixers[name].proportions if mix is None else mix for name, mix in self._mixes.items())
        mix: Vector = (1 - value) * start + value * end  # so that 0 and 1 give the two mixes bit for bit
        return mix
