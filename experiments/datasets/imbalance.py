"""Cutting groups: one short text, the setting ``imbalance``, says which share of its samples each group keeps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from experiments.settings import NONE, read_imbalance


def shares_kept(imbalance: str, num_groups: int, rare: Collection[int] | None = None) -> np.ndarray:
    """The share of its samples that each group keeps, shape ``(num_groups,)``, above 0 and at most 1.

    Args:
        imbalance: the setting.
        num_groups: how many groups there are, at least 1.
        rare: the groups that "step" cuts; None for the upper half of them.

    Example:
        >>> shares_kept("long-tail:100", num_groups=3).tolist()
        [1.0, 0.1, 0.01]
        >>> shares_kept("step:0.3", num_groups=4).tolist()
        [1.0, 1.0, 0.3, 0.3]
    """
    if imbalance == NONE:
        return np.ones(num_groups)
    form, number = read_imbalance(imbalance)
    groups = np.arange(num_groups)
    if form == "step":
        is_rare = groups >= num_groups // 2 if rare is None else np.isin(groups, list(rare))
        return np.where(is_rare, number, 1.0)
    # 0 at the first group, 1 at the last.
    place = groups / max(num_groups - 1, 1)
    return np.asarray(1 - (1 - number) * place if form == "linear" else number**-place)


def choose_kept(
    groups: np.ndarray,
    shares: Sequence[float] | np.ndarray,
    rng: np.random.Generator,
    per_group: int | None = None,
) -> np.ndarray:
    """Choose ``share * size`` samples of each group at random, rounded down.

    Args:
        groups: the group of each sample, shape ``(N,)``.
        shares: what each group keeps, in [0, 1].
        rng: where the choice comes from.
        per_group: a larger group counts as one of this size; None for no limit.

    Returns:
        The positions kept, in rising order.

    Example:
        >>> choose_kept(np.array([0, 0, 0, 0, 1, 1]), [0.5, 1.0], np.random.default_rng(0)).tolist()
        [0, 2, 4, 5]
    """
    kept = []
    for group, share in enumerate(shares):
        members = np.flatnonzero(groups == group)
        # 0.7 of 10 samples are 7, also where the floats say 6.999...
        size = len(members) if per_group is None else min(len(members), per_group)
        num_kept = int(round(share * size, 6))
        kept.append(rng.permutation(members)[:num_kept])
    return np.sort(np.concatenate(kept))
