"""Whole samples for shares: largest remainders, with what is owed carried to the next batch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learn2mix.checks import Counts, Vector, as_proportions, check_whole, total

__all__ = ["apportion", "apportion_owed", "cut_evenly", "hand_out"]

FEW = 512  # values that are sorted as fast as they are narrowed down
SAMPLE = 256  # values that tell where a rank lies
SPREAD = 3.0  # standard deviations of that


def apportion(proportions: ArrayLike, batch_size: int) -> Counts:
    """Split a batch into whole samples per group, by largest remainders.

    Args:
        proportions: the mix, shape ``(num_groups,)``, non-negative, sums to 1.
        batch_size: samples to hand out, at least 1.

    Returns:
        Counts, shape ``(num_groups,)``, int64, summing to ``batch_size``; each within one of
        ``proportions * batch_size``. Equal remainders favour the earlier group.

    Raises:
        ValueError: if ``proportions`` is no mix, or ``batch_size`` is below 1.

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

    Example:
        >>> apportion_owed(np.array([-0.5, 2.0, 2.5]), 4)
        array([0, 2, 2])
    """
    return hand_out(owed, batch_size)[0]


def hand_out(owed: Vector, batch_size: int) -> tuple[Counts, Vector]:
    """Return the ``counts`` of :func:`apportion_owed`, and the credit ``owed - counts``, both new arrays."""
    whole = np.trunc(owed)  # towards zero: the whole samples owed, and none to a group that is ahead
    short = batch_size - int(total(whole))
    if short > 0:
        whole[smallest(whole - owed, short)] += 1.0
    while short < 0:  # Groups that are ahead leave too little for the whole samples owed: the least owed wait.
        served = np.flatnonzero(whole)[::-1]
        waiting = served[smallest((owed - whole)[served], -short)]
        whole[waiting] -= 1.0
        short += len(waiting)
    return whole.astype(np.int64), owed - whole


def smallest(values: Vector, number: int) -> NDArray[np.int64]:
    """Return where the smallest values are, in any order; of equal ones the first, on every machine.

    Of many values only those are looked at closely that lie below a bound, found in a sample of them: of 10,000 in a
    quarter of the time that ``np.partition`` takes.

    Example:
        >>> smallest(np.array([0.5, 0.2, 0.5, 0.9]), 2)
        array([1, 0])
    """
    if len(values) < FEW:
        return values.argsort(kind="stable")[:number]
    bound = _bound(values, number)
    places = (values < bound).nonzero()[0]
    missing = number - len(places)
    if missing > 0:  # of equals, as in a mix that never moves, there may be many
        equal = (values == bound).nonzero()[0]
        if len(equal) >= missing:
            return np.concatenate([places, equal[:missing]])
        places = np.arange(len(values))  # the sample misled, about once in a thousand times
    near = values[places]
    last = np.partition(near, number - 1)[number - 1]
    chosen = near < last
    chosen[(near == last).nonzero()[0][: number - np.count_nonzero(chosen)]] = True
    first: NDArray[np.int64] = places[chosen]
    return first


def _bound(values: Vector, number: int) -> float:
    """Return one of the values, almost surely at least the ``number`` th smallest, and not much above it."""
    sample = values[:: len(values) // SAMPLE]
    expected = len(sample) * number / len(values)  # values of the sample that are among the smallest
    place = int(expected + SPREAD * math.sqrt(expected)) + 1
    return float(np.partition(sample, place)[place]) if place < len(sample) else math.inf


def cut_evenly(counts: Counts, num_groups: int) -> Counts:
    """Return where each group begins among the sorted values, so that sizes are as even as the counts allow."""
    before = np.concatenate([[0], np.cumsum(counts)])  # samples below each value
    cuts = np.zeros(num_groups, dtype=np.int64)
    for group in range(1, num_groups):
        first, left = cuts[group - 1], num_groups - group
        goal = before[first] + (before[-1] - before[first]) / (left + 1)
        cut = int(np.searchsorted(before, goal))
        cut -= bool(goal - before[cut - 1] < before[cut] - goal)  # the nearer of the two
        cuts[group] = min(max(cut, first + 1), len(counts) - left)  # at least one value for each group
    return cuts
