"""The formulas, as pure functions on vectors: no state, no randomness."""

from __future__ import annotations

from math import isnan

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.apportioning import apportion, apportion_owed
from learn2mix.checks import Vector, as_losses, as_proportions, check_floor, check_mixing_rate, check_power, total

__all__ = [
    "apportion",
    "apportion_owed",
    "effective_numbers",
    "exponentiate",
    "fading",
    "importance_weights",
    "log_mix",
    "raise_to_floor",
    "temper",
    "unimax",
    "update_proportions",
    "within_bounds",
]

TINY = 1e-290  # by a smaller sum than that the quotient could overflow


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
    proportions, mixing_rate = as_proportions(proportions), check_mixing_rate(mixing_rate)
    losses = as_losses(losses, len(proportions))
    check_floor(floor, int(np.count_nonzero((proportions > 0) | ~np.isnan(losses))))
    return move_towards(proportions, losses, mixing_rate, floor)


def move_towards(shares: Vector, losses: Vector, mixing_rate: float, floor: float = 0.0) -> Vector:
    """Return :func:`update_proportions` of arguments that are known to be right; ``shares`` may sum to less than 1."""
    summed = total(losses)
    if isnan(summed):
        moved, seen = np.array(shares), (~np.isnan(losses)).nonzero()[0]
        moved[seen] = move_towards(shares[seen], losses[seen], mixing_rate, floor)
        return moved
    if summed == 0:
        return shares
    if not TINY < summed < np.inf:
        losses = losses / losses.max()
        summed = total(losses)
    target = losses * (total(shares) / summed)  # not of 1 less the others' shares, which may be a hair below 0
    return raise_to_floor(shares + mixing_rate * (target - shares), floor)


def raise_to_floor(shares: Vector, floor: float) -> Vector:
    """Lift every share to ``floor``; those above pay, each in proportion to what it has above the floor.

    Their sum is kept; where it is too small for the floor, all are made equal.

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


def exponentiate(proportions: ArrayLike, gains: ArrayLike) -> Vector:
    r"""Move the mix by exponentiated gradient ascent: ``a_i`` in proportion to ``a_i exp(gain_i)``.

    Args:
        proportions: the mix ``a``, shape ``(num_groups,)``, sums to 1.
        gains: any finite numbers, shape ``(num_groups,)``; NaN for a group that keeps its share, while the others share
            the rest.

    Example:
        >>> exponentiate([0.5, 0.25, 0.25], [0.0, np.log(2.0), np.nan])
        array([0.375, 0.375, 0.25 ])
    """
    mix, gains = as_proportions(proportions), np.asarray(gains, dtype=np.float64)
    known = ~np.isnan(gains) & (mix > 0)  # the gain of a group without a share moves nothing
    if known.any():
        grown = mix[known] * np.exp(gains[known] - gains[known].max())
        mix[known] = mix[known].sum() * grown / grown.sum()
    return mix


def within_bounds(shares: Vector, floor: float, most: float) -> Vector:
    """Lift every share to ``floor``, and cut it at ``most``; the others take what is cut, in proportion.

    Their sum is kept; ``floor`` is at most and ``most`` at least ``sum / num_groups``.

    Example:
        >>> within_bounds(np.array([0.8, 0.15, 0.05]), floor=0.1, most=0.5)
        array([0.5       , 0.2972973, 0.2027027])
    """
    bounded = raise_to_floor(shares, floor)
    if most >= 1 or bounded.max(initial=0.0) <= most:
        return bounded
    whole, capped = shares.sum(), np.zeros(len(bounded), dtype=bool)
    bounded = np.array(bounded)
    while (over := ~capped & (bounded > most)).any():
        capped |= over
        others = bounded[~capped]
        others = others / others.max() if others.any() else np.ones(len(others))  # so that a tiny sum divides
        bounded[capped] = most
        bounded[~capped] = others / others.sum() * (whole - most * np.count_nonzero(capped))
    return bounded


def fading(draws: ArrayLike, sizes: ArrayLike, passes: float) -> Vector:
    r"""Return how much of each group's weight is left, now that its samples were repeated.

    .. math:: e^{-(r_i - \min_j r_j) / R}, \qquad r_i = \frac{d_i}{n_i}

    with samples drawn ``d``, sizes ``n`` and ``R = passes`` above 0. The group with fewest passes has 1.

    Example:
        >>> fading([100, 100], sizes=[100, 10], passes=9.0).round(3)
        array([1.   , 0.368])
    """
    draws, sizes = np.asarray(draws, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    present = sizes > 0
    repeats = draws[present] / sizes[present]
    left = np.zeros(len(sizes))
    left[present] = np.exp((repeats.min(initial=np.inf) - repeats) / passes)
    return left


def importance_weights(proportions: ArrayLike, prior: ArrayLike) -> Vector:
    r"""Return weights for samples drawn at one mix that make them count, on average, as if drawn at another.

    .. math:: w_i = \frac{\tilde a_i}{a_i}, \qquad
        \sum_i a_i \, w_i \, \nabla L_i = \sum_i \tilde a_i \, \nabla L_i

    Args:
        proportions: the mix ``a`` that the samples are drawn at, shape ``(num_groups,)``, sums to 1.
        prior: the mix that they are to stand for, shape ``(num_groups,)``, sums to 1.

    Returns:
        The weight of a sample of each group, shape ``(num_groups,)``; 0 for a group without a share in either mix.

    Raises:
        ValueError: if one of the two is no mix, their lengths differ, or a group has a prior but no share.

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


def log_mix(proportions: ArrayLike, target: ArrayLike, counts: ArrayLike | None = None) -> Vector:
    r"""Return what to add to the logits so that a classifier trained at one mix is right at another.

    .. math:: \log \frac{a_i}{t_i}

    With cross-entropy on the logits so moved, a network that fits its batches gives the class probabilities of the mix
    ``target``, whatever mix the batches are drawn at: logit adjustment (Menon et al., arXiv 2007.07314, eq. 10) and
    balanced softmax (Ren et al., arXiv 2007.10740, eq. 3), with the mix of the batch for the frequencies in the data.

    Args:
        proportions: the mix ``a`` that the batch was composed by, shape ``(num_groups,)``, sums to 1.
        target: the mix ``t``, shape ``(num_groups,)``, sums to 1.
        counts: samples in the batch, shape ``(num_groups,)``. A class without a share that has samples all the same
            (an earlier batch owed them) counts by these.

    Returns:
        Shape ``(num_groups,)``, float64; ``-inf`` for a class that is not in the batch, which leaves it out of the
        softmax.

    Raises:
        ValueError: if one is no mix, or a class in the batch has no share of the target.

    Example:
        >>> log_mix([0.75, 0.25, 0.0], target=[0.5, 0.25, 0.25]).round(3)
        array([0.405, 0.   ,  -inf])
    """
    proportions = as_proportions(proportions)
    target = as_proportions(target, len(proportions), "target")
    if counts is not None:
        counts = np.asarray(counts)
        owed = (proportions == 0) & (counts > 0)
        proportions[owed] = counts[owed] / counts.sum()
    missing = np.flatnonzero((proportions > 0) & (target == 0))
    if len(missing) > 0:
        raise ValueError(
            f"target must give a share to every class that is drawn, but class {missing[0]} has 0; give it a small one"
        )
    moved = np.full(len(proportions), -np.inf)
    present = proportions > 0
    moved[present] = np.log(proportions[present] / target[present])
    return moved


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


def unimax(sizes: ArrayLike, *, budget: float, passes: float) -> Vector:
    """Return the most even mix at which a budget draws no group more than ``passes`` times over.

    UniMax (Chung et al., arXiv 2304.09151, Algorithm 1): from the smallest group on, each gets an even part of what
    is left of the budget, or ``passes`` over its data where these are fewer.

    Example:
        >>> unimax([1000, 10, 100], budget=300, passes=2)
        array([0.46666667, 0.06666667, 0.46666667])
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    given, left = np.zeros(len(sizes)), budget
    for place, group in enumerate(np.argsort(sizes, kind="stable").tolist()):
        given[group] = min(left / (len(sizes) - place), passes * sizes[group])
        left -= given[group]
    mix: Vector = given / given.sum()
    return mix


def effective_numbers(sizes: ArrayLike, *, beta: float) -> Vector:
    r"""Return the mix at which classes count as with class-balanced weights (Cui et al., arXiv 1901.05555, eq. 2).

    .. math:: a_i \propto n_i \frac{1 - \beta}{1 - \beta^{n_i}}

    with sizes ``n`` and ``beta`` in [0, 1): 0 keeps the data's own mix, near 1 all classes get the same.

    Example:
        >>> effective_numbers([900, 100, 0], beta=0.99).round(3)
        array([0.851, 0.149, 0.   ])
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    present, shares = sizes > 0, np.zeros(len(sizes))
    shares[present] = sizes[present] / (1 - np.power(beta, sizes[present]))
    mix: Vector = shares / shares.sum()
    return mix
