"""Which samples of a global batch are this process's, and in which order."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from learn2mix.batches.permutation import OF_ORDERS, keys_at, shuffled
from learn2mix.checks import Counts, frozen

Places = NDArray[np.int64]

POOL = 8  # random orders of each of the two kinds that are multiplied
LARGE = 1 << 16  # samples, from which on orders are not kept
FEW = 128  # groups
NUMBERS = frozen(np.arange(FEW))


def own_places(counts: Counts, draws: Counts, rank: int, num_replicas: int) -> Places:
    """Return this process's places in a global batch that lies group after group, ascending.

    Of each group every process gets the same number, by draw number modulo ``num_replicas``, which tells it ahead which
    samples may be its own. What is left of the groups, fewer than ``num_replicas`` samples each, goes round. So each
    process gets as many samples as any other, and of each group as many as any other to within one. ``counts`` are the
    samples of each group in the batch, ``draws`` those in all batches before it, both shape ``(num_groups,)``.

    Example:
        >>> own_places(np.array([3, 5]), np.array([0, 0]), rank=1, num_replicas=2)
        array([1, 4, 6, 7])
    """
    starts = counts.cumsum() - counts
    each, left = np.divmod(counts, num_replicas)
    first = starts + (rank - draws) % num_replicas
    before = each.cumsum() - each
    regular = (first - num_replicas * before).repeat(each) + num_replicas * np.arange(int(each.sum()))
    ends = left.cumsum()
    rest = np.arange(rank, int(ends[-1]), num_replicas)
    group = ends.searchsorted(rest, side="right")
    over = (starts + counts - ends)[group] + rest  # the last of its group, in order
    return np.sort(np.concatenate([regular, over]))


def own_counts(counts: Counts, num_replicas: int) -> NDArray[np.int64]:
    """Return the samples of each group that each process gets of a batch, shape ``(num_replicas, num_groups)``.

    Example:
        >>> own_counts(np.array([3, 5]), num_replicas=2)
        array([[2, 2],
               [1, 3]])
    """
    each, left = np.divmod(counts, num_replicas)
    ends = left.cumsum()
    ranks = np.arange(num_replicas)[:, None]
    table: Places = each + (ends - 1 - ranks) // num_replicas - (ends - left - 1 - ranks) // num_replicas
    return table


def group_after_group(counts: Counts) -> Places:
    """Return the group of each sample of a batch that lies group after group.

    Example:
        >>> group_after_group(np.array([1, 0, 3]))
        array([0, 2, 2, 2])
    """
    if len(counts) <= FEW:
        return NUMBERS[: len(counts)].repeat(counts)
    served = (counts > 0).nonzero()[0]  # of whole numbers, nonzero takes three times as long
    groups: Places = served.repeat(counts[served])
    return groups


def shuffled_order(size: int, seed: int, rank: int, number: int) -> Places:
    """Return the order of a process's part of a batch, a permutation of ``range(size)``: a function of its arguments.

    Orders of ``POOL ** 2`` batches in a row are products of ``2 * POOL`` random ones. Each is as likely as any other,
    and any two are independent, as of orders that are drawn one by one; but a product takes a tenth of the time.

    Example:
        >>> sorted(shuffled_order(4, seed=0, rank=0, number=7).tolist())
        [0, 1, 2, 3]
    """
    order: Places
    if size > LARGE:
        (order,) = shuffled(keys_at(seed, OF_ORDERS, rank, number, np.arange(1)), size)
        return order
    block, place = divmod(number, POOL * POOL)
    pool = _pool(size, seed, rank, block)
    order = pool[place // POOL][pool[POOL + place % POOL]]
    return order


@lru_cache(maxsize=8)  # a loop with batches in flight asks for the orders of the newest and of the oldest
def _pool(size: int, seed: int, rank: int, block: int) -> Places:
    return frozen(shuffled(keys_at(seed, OF_ORDERS, rank, block, np.arange(2 * POOL)), size))
