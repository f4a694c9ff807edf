"""The formulas, as pure functions on vectors: no state, no randomness."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from learn2mix.checks import as_losses, as_number, as_proportions, check_floor, check_mixing_rate, check_whole

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from learn2mix.checks import Counts, Vector

__all__ = ["apportion", "apportion_owed", "importance_weights", "raise_to_floor", "temper", "update_proportions"]

FEW = 512  # values that are sorted as fast as partitioned


def update_proportions(proportions: ArrayLike, losses: ArrayLike, mixing_rate: float, *, floor: float = 0.0) -> Vector:
    r"""Move the mix towards the groups with the larger losses.

    .. math:: a \leftarrow a + \gamma \left( \frac{L}{\lVert L \rVert_1} - a \right)

    Learn2Mix, Algorithm 2 (arXiv 2412.16482). A group whose loss is NaN was not seen: it keeps its share, and the
    others share the rest by their losses. Where every loss is zero, or none is known, the mix stays as it is.

    Args:
        proportions: the mix ``a``, shape ``(num_groups,)``, non-negative, sums to 1.
        losses: mean loss of each group ``L``, shape ``(num_groups,)``, non-negative; NaN for a group not seen.
        mixing_rate: step size ``gamma`` in [0, 1]; 0 keeps the mix, 1 jumps to the shares of the losses.
        floor: least share of a group that was seen, in [0, 1 / num_groups]. The mix given must respect it.

    Returns:
        The new mix, shape ``(num_groups,)``, float64, sums to 1. The arguments are not changed.

    Raises:
        ValueError: if ``proportions`` is no mix, the lengths differ, a loss is negative or infinite, or
            ``mixing_rate`` lies outside [0, 1], or the groups cannot all have ``floor``.
        TypeError: if ``mixing_rate`` or ``floor`` is no number.

    Example:
        >>> update_proportions([0.5, 0.3, 0.2], [1.0, 1.0, 2.0], mixing_rate=0.1)
        array([0.475, 0.295, 0.23 ])
        >>> update_proportions([0.5, 0.3, 0.2], [1.0, 3.0, float("nan")], mixing_rate=0.5)
        array([0.35, 0.45, 0.2 ])
    """
    proportions = as_proportions(proportions)
    losses = as_losses(losses, len(proportions))
    check_mixing_rate(mixing_rate)
    seen = ~np.isnan(losses)
    check_floor(floor, int(np.count_nonzero((proportions > 0) | seen)))
    largest = losses[seen].max(initial=0.0)
    if largest == 0:
        return proportions
    scaled = losses[seen] / largest  # so that the sum cannot overflow
    shares = proportions[seen]
    target = shares.sum() * scaled / scaled.sum()  # not 1 less the others' shares, which may be a hair below 0
    proportions[seen] = raise_to_floor(shares + mixing_rate * (target - shares), floor)
    return proportions


def raise_to_floor(shares: Vector, floor: float) -> Vector:
    """Lift every share to ``floor``; those above pay, each in proportion to what it has above the floor.

    Args:
        shares: non-negative, shape ``(num_groups,)``; their sum is kept.
        floor: least share; where the sum is too small for it, all are made equal.

    Returns:
        Shares of the same sum, each at least ``floor``, shape ``(num_groups,)``.

    Example:
        >>> raise_to_floor(np.array([0.7, 0.25, 0.05]), 0.1)
        array([0.66, 0.24, 0.1 ])
    """
    if floor == 0 or shares.min(initial=np.inf) >= floor:
        return shares
    above = np.maximum(shares - floor, 0.0)
    spare = float(shares.sum()) - floor * len(shares)
    if spare <= 0 or not above.any():
        return np.full_like(shares, shares.mean())
    raised: Vector = floor + above * (spare / above.sum())
    return raised


def apportion(proportions: ArrayLike, batch_size: int) -> Counts:
    """Split a batch into whole samples a group, by largest remainders.

    Args:
        proportions: the mix, shape ``(num_groups,)``, non-negative, sums to 1.
        batch_size: samples to hand out, at least 1.

    Returns:
        Counts, shape ``(num_groups,)``, int64, summing to ``batch_size``; each within one of
        ``proportions * batch_size``. Equal remainders favour the earlier group.

    Raises:
        ValueError: if a proportion is negative or not finite, they do not sum to 1, or ``batch_size`` is below 1.
        TypeError: if ``batch_size`` is not a whole number.

    Example:
        >>> apportion([0.5, 0.3, 0.2], batch_size=8)
        array([4, 2, 2])
    """
    batch_size = check_whole(batch_size, "batch_size")
    return apportion_owed(as_proportions(proportions) * batch_size, batch_size)


def apportion_owed(owed: Vector, batch_size: int) -> Counts:
    """Hand out a batch one sample at a time, each to the group that is owed most.

    With ``owed = credit + proportions * batch_size`` and ``credit = owed - counts`` carried to the next batch, after
    any number of batches, under any path of proportions, a group has had

    - less than one sample more than its summed share: a group is only served while it is owed something, so its
      credit stays above ``1 / num_groups - 1``;
    - at most ``H(num_groups) - 1`` samples less, ``H`` the harmonic numbers (0.5 for 2 groups, 1.93 for 10, 4.19 for
      100). Let ``d(m)`` bound the mean credit of the ``m`` groups with most. If other groups were served last, ``r``
      of them, each of them had at least that mean less one, so ``d(m) <= d(m + r) + r / (m + r)``, and
      ``d(num_groups) = 0``: the sum telescopes to ``1/2 + ... + 1/num_groups``.

    No rule that does not know the future mixes does better: against a mix that is always uniform over the groups not
    yet served, some group falls behind by exactly that much.

    Args:
        owed: samples owed to each group, shape ``(num_groups,)``, above -1, sums to ``batch_size``.
        batch_size: samples to hand out.

    Returns:
        Counts, shape ``(num_groups,)``, int64, summing to ``batch_size``.

    Example:
        >>> apportion_owed(np.array([-0.5, 2.0, 2.5]), 4)
        array([0, 2, 2])
    """
    counts = owed.astype(np.int64)  # towards zero: the whole samples owed, and none to a group that is ahead
    short = batch_size - int(counts.sum())
    if short > 0:
        counts[_smallest(counts - owed, short)] += 1
    while short < 0:  # Groups that are ahead leave too little for the whole samples owed: the least owed wait.
        served = np.flatnonzero(counts)[::-1]
        waiting = served[_smallest((owed - counts)[served], -short)]
        counts[waiting] -= 1
        short += len(waiting)
    return counts


def importance_weights(proportions: ArrayLike, prior: ArrayLike) -> Vector:
    r"""Weight samples drawn at one mix so that, on average, they count as if drawn at another.

    .. math:: w_i = \frac{\tilde a_i}{a_i}, \qquad
        \sum_i a_i \, w_i \, \nabla L_i = \sum_i \tilde a_i \, \nabla L_i

    Args:
        proportions: the mix ``a`` that the samples are drawn at, shape ``(num_groups,)``, sums to 1.
        prior: the mix that they are to stand for, shape ``(num_groups,)``, sums to 1.

    Returns:
        The weight of a sample of each group, shape ``(num_groups,)``; 0 for a group without a share in either mix.

    Raises:
        ValueError: if one of the two is no mix, their lengths differ, or a group has a prior but no share: what is
            never drawn cannot be weighted.

    Example:
        >>> importance_weights([0.5, 0.5], prior=[0.9, 0.1])
        array([1.8, 0.2])
    """
    proportions = as_proportions(proportions)
    prior = as_proportions(prior, len(proportions), "prior")
    missing = np.flatnonzero((prior > 0) & (proportions == 0))
    if len(missing) > 0:
        raise ValueError(
            f"proportions must give a share to every group with a prior, but group {missing[0]} has 0 and the prior "
            f"{prior[missing[0]]:.4g}; a floor keeps each group in the mix"
        )
    weights: Vector = np.divide(prior, proportions, out=np.zeros_like(prior), where=prior > 0)
    return weights


def temper(prior: ArrayLike, power: float) -> Vector:
    r"""Flatten or sharpen a mix: shares in proportion to a power of those that the data have.

    .. math:: a_i = \frac{\tilde a_i^{\,p}}{\sum_j \tilde a_j^{\,p}}

    Multilingual models draw their languages so, with powers from 0.3 to 0.7 (arXiv 1911.02116).

    Args:
        prior: the data's own proportions, shape ``(num_groups,)``, sums to 1; a group with 0 keeps 0.
        power: 1 keeps the mix, 0 gives each group that has samples the same share; below 0 the smallest get most.

    Returns:
        The mix, shape ``(num_groups,)``, float64, sums to 1.

    Raises:
        ValueError: if ``prior`` is no mix or ``power`` is not finite.
        TypeError: if ``power`` is no number.

    Example:
        >>> temper([0.64, 0.36, 0.0], power=0.5)
        array([0.57142857, 0.42857143, 0.        ])
    """
    prior, number = as_proportions(prior, name="prior"), check_power(power)
    present = prior > 0
    shares = prior[present]
    raised = (shares / (shares.max() if number >= 0 else shares.min())) ** number  # at most 1, so nothing overflows
    prior[present] = raised / raised.sum()
    return prior


def check_power(value: float) -> float:
    """Return ``value`` if it is a finite number, else raise a TypeError or a ValueError."""
    number = as_number(value, "power", "such as 0.5")
    if not np.isfinite(number):
        raise ValueError(f"power must be finite, got {value!r}; 0 gives each group the same share")
    return number


def _smallest(values: Vector, number: int) -> NDArray[np.int64]:
    """Return where the smallest values are; of equal ones the first, on every machine."""
    if len(values) < FEW or number >= len(values):
        return values.argsort(kind="stable")[:number]
    largest = np.partition(values, number - 1)[number - 1]  # of 10,000: in a twentieth of the time to sort them
    chosen = values < largest
    chosen[np.flatnonzero(values == largest)[: number - np.count_nonzero(chosen)]] = True
    first: NDArray[np.int64] = chosen.nonzero()[0]
    return first
