"""Endless passes over each group, each pass freshly shuffled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from learn2mix.batches.permutation import OF_PASSES, SORTED, derived_keys, keys_at, parts_of_passes, shuffled
from learn2mix.checks import Counts
from learn2mix.partition import Partition

Array = NDArray[Any]

MANY = 2048  # groups; with more of them, only those that a batch has samples of are looked at
LOOKED_THROUGH = 1 << 14  # groups up to which all are looked through for windows that are nearly used up
FEW = 8  # groups up to which it is faster to open their windows one by one


class Passes:
    """Endless passes over each group, each pass freshly shuffled.

    Draw number ``d`` of group ``g`` is a pure function of ``(seed, g, d)``: nothing has to be saved to go on, and any
    process can compute any part. A window of each group's draws is cached, so that consecutive draws are cheap: whole
    passes of a small group, a part of a pass of a large one. So the cache does not grow with large groups.

    Example:
        >>> from learn2mix import Partition
        >>> passes = Passes(Partition.by_class(["cat", "cat", "cat", "dog"]), seed=0)
        >>> sorted(passes.draw(np.array([0, 0]), np.array([3, 2])).tolist())
        [0, 1, 2, 3, 3]
    """

    def __init__(self, partition: Partition, seed: int) -> None:
        self._partition = partition
        num_groups, sizes = partition.num_groups, np.maximum(partition.sizes, 1)
        self._keys = keys_at(seed, OF_PASSES, np.arange(num_groups))
        # The first batch may open a window of each group, in 20 ms: the more groups there are, the smaller they are.
        self._largest_shuffle = _between(SORTED, (3 << 19) // num_groups, 1 << 16)
        passes = _between(16, (3 << 18) // num_groups, 1 << 12) // sizes
        part = 1 << _between(5, ((1 << 18) // num_groups).bit_length() - 1, 14)
        self._large = sizes > self._largest_shuffle
        self._length = np.where(self._large, part, np.maximum(passes, 1) * sizes)
        self._margin = np.where(self._large | (passes >= 8), self._length // 8, 0)  # draws left when a new one is due
        self._renews = num_groups <= LOOKED_THROUGH and bool(self._margin.any())
        self._start = self._length.cumsum() - self._length  # of each group's window in the cache
        self._cache: Array = np.empty(int(self._length.sum()), dtype=partition.index_dtype)
        self._low = np.zeros(num_groups, dtype=np.int64)  # number of the first draw in the window
        self._stop = np.zeros(num_groups, dtype=np.int64)  # and of the first after it: nothing is cached yet
        self._base = self._start.copy()  # draw d, if it is in the window, is in the cache at base + d
        self._next: Counts | None = None  # where the last batch ended, if no window was beyond its draws
        self._ramp = np.arange(0)

    def draw(self, first: Counts, counts: Counts, after: Counts | None = None) -> Array:
        """Return data set indices, group after group: ``counts`` of each, after the ``first`` that came before.

        ``after`` is the sum of the two, if the caller has it. Given again as ``first``, the same array tells that this
        batch comes next.
        """
        served, base, low, stop = None, self._base, self._low, self._stop
        after = first + counts if after is None else after
        comes_next, self._next, reached = first is self._next, None, after
        if len(counts) > MANY:
            served = (counts != 0).nonzero()[0]
            first, counts, reached, base, low, stop = (
                each.take(served) for each in (first, counts, after, base, low, stop)
            )
        ends = np.add.accumulate(counts)
        slots = (base + reached - ends).repeat(counts)
        if len(self._ramp) != len(slots):
            self._ramp = np.arange(len(slots))
        slots += self._ramp
        missing = reached > stop
        if not comes_next:
            missing |= first < low
        if not np.count_nonzero(missing):
            self._next = after
            drawn: Array = self._cache[slots]
            return drawn
        drawn = self._cache.take(slots, mode="clip")  # garbage where it is not cached
        chosen = (missing & (counts > 0)).nonzero()[0]
        if len(chosen):
            groups = chosen if served is None else served[chosen]
            self._complete(drawn, groups, first[chosen], reached[chosen], ends[chosen])
            if self._renews:
                self._renew(after)
        return drawn

    def _complete(self, drawn: Array, groups: Array, first: Array, reached: Array, ends: Array) -> None:
        """Write to ``drawn``, where the draws of each group end at ``ends``, those that were not cached."""
        few = len(groups) <= FEW and not self._large[groups].any()
        if few and (reached - first <= self._length[groups]).all():
            for each in zip(groups.tolist(), first.tolist(), reached.tolist(), ends.tolist(), strict=True):
                self._complete_one(drawn, *each)
            return
        low, stop = self._low[groups], self._stop[groups]
        begin = np.where((low <= first) & (first < stop), stop, first)
        self._open_windows(groups, begin)
        fits = reached <= self._stop[groups]
        for chosen, find in ((fits, self._cached), (~fits, self._computed)):
            if chosen.any():
                counts = reached[chosen] - begin[chosen]
                drawn[ragged(ends[chosen] - counts, counts)] = find(groups[chosen], begin[chosen], counts)

    def _renew(self, draws: Counts) -> None:
        """Open new windows from ``draws`` on for groups whose windows are nearly used up: all at once costs less."""
        left = self._stop - draws
        due = ((left >= 0) & (left < self._margin) & (self._stop > 0)).nonzero()[0]
        if len(due):
            self._open_windows(due, draws[due])

    def _complete_one(self, drawn: Array, group: int, first: int, reached: int, end: int) -> None:
        while first < reached:
            if not self._low[group] <= first < self._stop[group]:
                self._open_window(group, first)
            stop = min(reached, int(self._stop[group]))
            to, base = end - reached, int(self._base[group])  # where draw 0 would be in drawn, and in the cache
            drawn[to + first : to + stop] = self._cache[base + first : base + stop]
            first = stop

    def _open_windows(self, groups: Array, draws: Array) -> None:
        """Cache draws of some groups: of a large one from ``draws`` on, of others whole passes, from that of it on."""
        start, length = self._start[groups], self._length[groups]
        low = np.where(self._large[groups], draws, draws - draws % self._partition.sizes[groups])
        write(self._cache, start, length, self._computed(groups, low, length))
        self._low[groups], self._stop[groups] = low, low + length
        self._base[groups] = start - low

    def _open_window(self, group: int, draw: int) -> None:
        """Do the same for one group that is not large, in less time."""
        size, start, length = (int(each[group]) for each in (self._partition.sizes, self._start, self._length))
        number, place = divmod(draw, size)
        keys = derived_keys(self._keys[group : group + 1], np.arange(number, number + length // size))
        places = shuffled(keys, size)
        places += self._partition.offsets[group]
        self._cache[start : start + length] = self._partition.at(places)
        low = draw - place
        self._low[group], self._stop[group], self._base[group] = low, low + length, start - low

    def _cached(self, groups: Array, first: Array, counts: Array) -> Array:
        """Return ``counts`` draws of each group after the ``first``, which are in its window."""
        drawn: Array = self._cache[ragged(self._base[groups] + first, counts)]
        return drawn

    def _computed(self, groups: Array, first: Array, counts: Array) -> Array:
        """Return ``counts`` draws of each group after the ``first``, wherever they are; each a row for each pass."""
        sizes, last = self._partition.sizes[groups], first + counts
        first_pass = first // sizes
        num_passes = (last - 1) // sizes - first_pass + 1
        row = np.arange(len(groups)).repeat(num_passes)
        number, size = ragged(first_pass, num_passes), sizes[row]
        begin, end = np.maximum(first[row] - number * size, 0), np.minimum(last[row] - number * size, size)
        keys, offsets = derived_keys(self._keys[groups][row], number), self._partition.offsets[groups][row]
        return self._partition.at(parts_of_passes(keys, size, begin, end, offsets, self._largest_shuffle))


def ragged(starts: Array, counts: Array) -> Array:
    """Return ``counts`` numbers from each of the ``starts`` on, one after the other.

    Example:
        >>> ragged(np.array([5, 100]), np.array([3, 2]))
        array([  5,   6,   7, 100, 101])
    """
    ends = counts.cumsum()
    numbers: Array = (starts + counts - ends).repeat(counts)
    numbers += np.arange(len(numbers))
    return numbers


def write(array: Array, starts: Array, counts: Array, values: Array) -> None:
    """Write ``counts`` of the values to each of the ``starts`` on, one after the other."""
    if len(values) < 256 * len(starts):
        array[ragged(starts, counts)] = values
        return
    ends = counts.cumsum()
    for start, count, end in zip(starts.tolist(), counts.tolist(), ends.tolist(), strict=True):
        array[start : start + count] = values[end - count : end]


def _between(least: int, value: int, most: int) -> int:
    return min(max(value, least), most)
