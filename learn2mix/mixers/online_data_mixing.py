"""A bandit that looks for the groups with most left to learn: Online Data Mixing (Albalak et al., arXiv 2312.02406)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from learn2mix.checks import Vector, check_share
from learn2mix.mixers.following import Following
from learn2mix.mixers.info import MixInfo


class OnlineDataMixing(Following):
    r"""EXP3 on the losses of the groups, each divided by the share that its samples were drawn at (Algorithm 1).

    .. math:: \hat R_i \leftarrow \alpha \hat R_i + (1 - \alpha) \frac{L_i}{a_i}, \qquad
        a_i \leftarrow (1 - K \epsilon_t) \frac{e^{\epsilon_{t-1} \hat R_i}}{\sum_j e^{\epsilon_{t-1} \hat R_j}}
        + \epsilon_t, \qquad \epsilon_t = \min\left(\frac{1}{K}, \sqrt{\frac{\ln K}{K t}}\right)

    for update ``t`` from 1 and ``K`` groups that have samples. ``a_i`` in the first equation is the mix of the batches
    that the losses are of, also where workers run ahead. A group that was not seen keeps its reward.

    Args:
        reward_memory: ``alpha`` in [0, 1).
        settings: ``every``, ``initial``, ``memory``, ``floor`` and ``most``, as of :class:`learn2mix.Learn2Mix`.

    Raises:
        ValueError: if an argument is out of range; when it is updated without ``info``.

    Example:
        >>> from learn2mix import MixedBatchSampler
        >>> sampler = MixedBatchSampler([0, 1] * 8, OnlineDataMixing(), batch_size=4)
        >>> for batch in sampler:
        ...     sampler.observe([1.0 + index % 2 for index in batch])  # the odd ones are harder
        >>> sampler.mixer.proportions.round(3)
        array([0.477, 0.523])
    """

    _rewards: Vector | None = None

    def __init__(self, *, reward_memory: float = 0.9, **settings: Any) -> None:
        super().__init__(**settings)
        self.reward_memory = check_share(reward_memory, "reward_memory")

    def initial_proportions(self, prior: Vector) -> Vector:
        self._rewards = np.zeros(len(prior))
        return super().initial_proportions(prior)

    def move(self, losses: Vector, info: MixInfo | None) -> None:
        if info is None or self._rewards is None:
            raise ValueError("info must be given to update(losses, info): rewards are divided by the batches' mix")
        known = ~np.isnan(losses) & (info.proportions > 0)
        reward = losses[known] / info.proportions[known]
        self._rewards[known] = self.reward_memory * self._rewards[known] + (1 - self.reward_memory) * reward
        present = self.prior > 0
        num_groups, now = int(np.count_nonzero(present)), info.num_updates + 1
        scores = exploration(now - 1, num_groups) * self._rewards[present]
        weights, epsilon = np.exp(scores - scores.max()), exploration(now, num_groups)
        mix = np.zeros(len(present))
        mix[present] = (1 - num_groups * epsilon) * weights / weights.sum() + epsilon
        self.proportions = mix

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | self._list("rewards", self._rewards)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        rewards = self._vector(state, "rewards")
        self._rewards = np.zeros(len(self.prior)) if rewards is None else rewards


def exploration(update: int, num_groups: int) -> float:
    """Return epsilon of an update, counted from 1; before it that of the uniform mix.

    Example:
        >>> exploration(0, 4), round(exploration(100, 4), 4)
        (0.25, 0.0589)
    """
    return min(1 / num_groups, math.sqrt(math.log(num_groups) / (num_groups * update))) if update else 1 / num_groups
