"""One group after the other, in turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from learn2mix.checks import Vector, check_above_zero, check_every, check_whole
from learn2mix.mixers.base import Mixer
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import refuse_unknown


class AlternatingMix(Mixer):
    """Draws from one group at a time, and changes to the next by epoch, by steps, or on a plateau.

    What is trained on last biases the final weights. ``num_turns`` ends the alternation, so that the run can close on
    the data's own mix of all groups. By epoch and by steps it follows the batches composed, so that no lag can shift
    it; on a plateau it follows ``observe_validation``.

    Args:
        every: when to change: ``"epoch"``, a number of batches (counted over all epochs), or ``"plateau"``: when the
            first and the last of the newest ``window`` validation losses differ by at most ``threshold``; the next
            plateau is then looked for in new losses only.
        groups: the turns: a name, or a sequence of names that are drawn together at the data's own proportions, for
            each; None for each group in turn. At least two. A tuple that is itself a name is that group.
        window: validation losses to judge a plateau by, at least 2.
        threshold: largest difference that still is a plateau, at least 0, in the unit of the loss.
        num_turns: turns after which all groups of the data are mixed at their own proportions; None for never.
        floor: least share of each group, also where it is another's turn (rehearsal), at most ``1 / num_groups``.
        most: largest share of each group, at least ``1 / num_groups``.

    Raises:
        ValueError: if an argument is out of range; when it is attached, if a name is unknown, a turn has no samples or
            there are fewer than two turns.
        TypeError: if a number is not whole, ``threshold`` is no number or ``groups`` no sequence.

    Example:
        >>> mixer = AlternatingMix(every=2)
        >>> mixer.attach([0.8, 0.2], ["a", "b"])
        >>> for batch in range(4):
        ...     mixer.seek(batch, epoch=0)
        ...     print(mixer.proportions)
        [1. 0.]
        [1. 0.]
        [0. 1.]
        [0. 1.]
    """

    def __init__(
        self,
        *,
        every: int | str = "epoch",
        groups: Sequence[Any] | None = None,
        window: int = 5,
        threshold: float = 0.01,
        num_turns: int | None = None,
        floor: float = 0.0,
        most: float = 1.0,
    ) -> None:
        self.floor, self.most = floor, most
        self.every = check_every(every, ("epoch", "plateau"), "batches")
        self.needs_validation = "loss" if every == "plateau" else None
        self.window = check_whole(window, "window", minimum=2)
        self.threshold = check_above_zero(threshold, "threshold", or_zero=True)
        self.num_turns = None if num_turns is None else check_whole(num_turns, "num_turns")
        self._turns = None if groups is None else _as_turns(groups)
        self._turn = 0
        self._place = (0, 0)  # the newest batch that was asked for, and its epoch
        self._newest: deque[float] = deque(maxlen=self.window)

    @property
    def follows_progress(self) -> bool:
        """Whether the mix of a batch is known from its place in the run: not where a plateau decides."""
        return self.every != "plateau"

    def initial_proportions(self, prior: Vector) -> Vector:
        names = self.group_names
        turns = [[name] for name in names] if self._turns is None else [_names_of(turn, names) for turn in self._turns]
        if len(turns) < 2:
            raise ValueError(f"groups must be at least 2 turns to alternate between, got {len(turns)}")
        self._mixes = [_mix_of(turn, names, prior) for turn in turns]
        return self._mixes[0]

    def seek(self, batch: int, epoch: int, info: MixInfo | None = None) -> None:
        self._place = (batch, epoch)
        if self.every != "plateau":
            self._take_turn(epoch if self.every == "epoch" else batch // int(self.every))

    def observe_validation(self, loss: float, group_losses: Vector | None = None) -> None:
        if self.every != "plateau":
            return
        self._newest.append(loss)
        if len(self._newest) == self.window and abs(self._newest[0] - self._newest[-1]) <= self.threshold:
            self._take_turn(self._turn + 1)
            self._newest.clear()

    def _take_turn(self, turn: int) -> None:
        over = self.num_turns is not None and turn >= self.num_turns
        self._turn, self.proportions = turn, self.prior if over else self._mixes[turn % len(self._mixes)]

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"groups": self._turns}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"turn": self._turn, "newest": list(self._newest), "place": list(self._place)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._newest = deque(state["newest"], maxlen=self.window)
        if "place" in state:  # else of an earlier version
            self.seek(*state["place"])
        if self.follows_progress and "place" in state:
            return
        self._turn = state["turn"]
        if self._differences(state):
            self._take_turn(self._turn)


def _as_turns(groups: Any) -> list[Any]:
    """Return the turns as lists, tuples and names."""
    groups = groups.tolist() if isinstance(groups, np.ndarray) else groups
    if isinstance(groups, str) or not isinstance(groups, Sequence):
        raise TypeError(f"groups must be a sequence of names or of sequences of names, got {type(groups).__name__}")
    turns = [turn.tolist() if isinstance(turn, np.ndarray) else turn for turn in groups]
    return [turn if isinstance(turn, (str, tuple)) or not isinstance(turn, Sequence) else list(turn) for turn in turns]


def _names_of(turn: Any, names: list[Any]) -> list[Any]:
    return list(turn) if isinstance(turn, (list, tuple)) and turn not in names else [turn]


def _mix_of(turn: list[Any], names: list[Any], prior: Vector) -> Vector:
    refuse_unknown(turn, names, "groups")
    shares = np.where([name in turn for name in names], prior, 0.0)
    if not shares.sum() > 0:
        raise ValueError(f"groups: the turn {turn} has no samples")
    mix: Vector = shares / shares.sum()
    return mix
