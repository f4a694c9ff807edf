"""The groups farthest above a reference model's loss get more: DoReMi's rule (Xie et al., arXiv 2305.10429)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.checks import Vector, as_losses, check_above_zero, check_mixing_rate, frozen
from learn2mix.functional import exponentiate
from learn2mix.mixers.following import Following
from learn2mix.mixers.info import MixInfo
from learn2mix.mixers.mixes import MixLike, as_given, by_name


class ExcessLoss(Following):
    r"""Follows how far the loss of each group is above what a reference model reaches on it.

    .. math:: \lambda_i = \max(L_i - L^{ref}_i, 0), \qquad
        a_i \leftarrow (1 - c) \frac{a_i \, e^{\eta \lambda_i}}{\sum_j a_j \, e^{\eta \lambda_j}} + \frac{c}{K}

    (Algorithm 1, with the difference of the means in the place of the mean of the differences of tokens). DoReMi then
    trains anew at the mean of the mixes over the run: :attr:`mean_proportions`. A group that was not seen keeps its
    share before the smoothing.

    Args:
        reference: the reference model's loss of each group: shape ``(num_groups,)``, or by name.
        step_size: ``eta``, above 0.
        smoothing: ``c`` in [0, 1].
        initial: the mix to start with, as :class:`learn2mix.FixedMix` takes it; uniform in the paper.
        settings: ``every``, ``memory``, ``floor`` and ``most``, as of :class:`learn2mix.Learn2Mix`.

    Raises:
        ValueError: if an argument is out of range; when it is attached, if there is not one finite loss per group.

    Example:
        >>> mixer = ExcessLoss({"code": 1.0, "web": 2.0}, smoothing=0.0)
        >>> mixer.attach([0.5, 0.5], ["web", "code"])
        >>> mixer.update(np.array([1.5, 1.0 + np.log(3.0)]))
        >>> mixer.proportions, mixer.mean_proportions
        (array([0.25, 0.75]), array([0.25, 0.75]))
    """

    def __init__(
        self,
        reference: Mapping[Any, float] | Sequence[float] | ArrayLike,
        *,
        step_size: float = 1.0,
        smoothing: float = 1e-3,
        initial: MixLike = "uniform",
        **settings: Any,
    ) -> None:
        super().__init__(initial=initial, **settings)
        self._asked = as_given(reference)
        self.step_size = check_above_zero(step_size, "step_size")
        self.smoothing = check_mixing_rate(smoothing, "smoothing")

    def initial_proportions(self, prior: Vector) -> Vector:
        asked = by_name(self._asked, "reference", self.group_names, kind="loss")
        self._reference = as_losses(asked, len(prior), "reference", signed=True).copy()
        if np.isnan(self._reference).any():
            raise ValueError(f"reference must be one finite loss per group, got {self._reference.tolist()}")
        self._sum, self._num_moves = np.zeros(len(prior)), 0
        return super().initial_proportions(prior)

    @property
    def mean_proportions(self) -> Vector:
        """Mean of the mixes after each update, shape ``(num_groups,)``, read-only; before the first the initial mix."""
        return frozen(self._sum / self._num_moves) if self._num_moves else self.proportions

    def move(self, losses: Vector, info: MixInfo | None) -> None:
        moved = exponentiate(self.proportions, self.step_size * np.maximum(losses - self._reference, 0.0))
        uniform = (self.prior > 0) / np.count_nonzero(self.prior)
        self.proportions = (1 - self.smoothing) * moved + self.smoothing * uniform
        self._sum, self._num_moves = self._sum + self.proportions, self._num_moves + 1

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"reference": self._reference.tolist()}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"sum": self._sum.tolist(), "num_moves": self._num_moves}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        total = self._vector(state, "sum")
        if total is not None:
            self._sum, self._num_moves = total, state["num_moves"]
