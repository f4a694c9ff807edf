"""Endless passes over each group, each pass freshly shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from learn2mix.batches.composition import Batch
from learn2mix.batches.permutation import OF_PASSES, SORTED, derived_keys, keys_at, parts_of_passes, torch_shuffle
from learn2mix.checks import Counts
from learn2mix.partition import Partition

Array = NDArray[Any]

MANY = 2048  # groups; with more of them, only those that a batch has samples of are looked at
LOOKED_THROUGH = 1 << 14  # groups up to which all are looked through for windows that are nearly used up
FEW = 8  # groups up to which it is faster to move their windows one by one
NONE: Array = np.arange(0)


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
        part = 1 << _between(5, ((1 << 18) // num_groups).bit_length() - 1, 14)
        large, self._alone = sizes > self._largest_shuffle, (sizes >= SORTED) & (sizes <= self._largest_shuffle)
        most = np.where(self._alone, 1 << 16, 1 << 12)  # a window of passes that torch shuffles is ready sooner
        passes = np.clip((3 << 18) // num_groups, 16, most) // sizes
        self._unit = np.where(large, part // 8, sizes)  # windows begin at multiples of it: of most groups with a pass
        self._length = np.where(large, part, np.maximum(passes, 1) * sizes)  # what a window has from any next draw on
        self._room = self._length + self._unit  # most draws in a window
        moves_early = large | ((passes >= 8) & ~self._alone)
        self._margin = np.where(moves_early, self._length // 8, 0)  # draws left in a window that is moved with others
        self._renews = num_groups <= LOOKED_THROUGH and bool(self._margin.any())
        self._start = self._room.cumsum() - self._room  # of each group's window in the cache
        self._cache: Array = np.empty(int(self._room.sum()), dtype=partition.index_dtype)
        self._low = np.zeros(num_groups, dtype=np.int64)  # number of the first draw in the window
        self._stop = np.zeros(num_groups, dtype=np.int64)  # and of the first after it: nothing is cached yet
        self._base = self._start.copy()  # draw d, if it is in the window, is in the cache at base + d
        self._next: Counts | None = None  # where the last batch ended, if no window was beyond its draws
        self._ramp = NONE

    def draw(self, first: Counts, counts: Counts, after: Counts | None = None) -> Array:
        """Return data set indices, group after group: ``counts`` of each, after the ``first`` that came before.

        ``after`` is the sum of the two, if the caller has it. Given again as ``first``, the same array tells that this
        batch comes next.
        """
        after = first + counts if after is None else after
        served, begin, wanted, reached = None, first, counts, after
        low, stop, base = self._low, self._stop, self._base
        if len(counts) > MANY:
            served = (counts != 0).nonzero()[0]
            begin, wanted, reached, low, stop = (each.take(served) for each in (first, counts, after, low, stop))
        missing = reached > stop
        if first is not self._next:
            missing |= begin < low
        self._next = after if served is None else None
        rows = missing.nonzero()[0]
        if len(rows):
            self._next = None
            rows = rows[wanted[rows] > 0]
            fits = wanted[rows] <= self._length[rows if served is None else served[rows]]
            self._move(rows[fits] if served is None else served[rows[fits]], first, after)
            rows = rows[~fits]
        if served is not None:
            base = base.take(served)
        ends = np.add.accumulate(wanted)
        slots = (base + reached - ends).repeat(wanted)
        if len(self._ramp) != len(slots):
            self._ramp = np.arange(len(slots))
        slots += self._ramp
        if not len(rows):
            drawn: Array = self._cache[slots]
            return drawn
        drawn = self._cache.take(slots, mode="clip")  # garbage where the batch has more than a window
        groups, begin, wanted = rows if served is None else served[rows], begin[rows], wanted[rows]
        drawn[ragged(ends[rows] - wanted, wanted)] = self._computed(groups, begin, wanted)
        return drawn

    def draw_each(self, batches: Sequence[Batch]) -> list[Array]:
        """Return what :meth:`draw` returns for each of several batches of one size, which follow one another."""
        counts = np.array([batch.counts for batch in batches])
        draws = np.array([batch.draws for batch in batches])
        first, after = batches[0].draws, batches[-1].drawn
        of_all = after - first
        drawn = self.draw(first, of_all, after)
        starts = of_all.cumsum() - of_all - first  # draw d of a group is at its start + d
        return list(drawn[ragged((starts + draws).ravel(), counts.ravel())].reshape(len(batches), -1))

    def _move(self, groups: Array, first: Counts, after: Counts) -> None:
        """Move the windows of these groups to their next draws; and of others, if these are nearly used up."""
        alone = self._alone[groups]
        if np.count_nonzero(alone) <= FEW:
            for group in groups[alone].tolist():
                self._move_window(group, int(first[group]))
            groups = groups[~alone]
        if len(groups) and self._renews:  # all at once costs less
            left = self._stop - after
            due = (left >= 0) & (left < self._margin) & (self._stop > 0) & (first >= self._low + self._unit)
            due[groups] = True
            groups = due.nonzero()[0]
        if len(groups):
            self._move_windows(groups, first[groups])

    def _move_windows(self, groups: Array, draws: Array) -> None:
        """Let the windows of some groups begin with the units that these draws are in, and keep what they have."""
        start, unit, stop = self._start[groups], self._unit[groups], self._stop[groups]
        low = draws - draws % unit
        kept = np.where((self._low[groups] <= low) & (low < stop), stop - low, 0)
        room = self._length[groups] + np.where((draws > low) | (kept > 0), unit, 0)
        found = self._computed(groups, low + kept, room - kept)
        self._stop[groups] = 0  # so that an interrupted move leaves no window
        write(self._cache, start, kept, self._cache[ragged(self._base[groups] + low, kept)])
        write(self._cache, start + kept, room - kept, found)
        self._low[groups], self._base[groups], self._stop[groups] = low, start - low, low + room

    def _move_window(self, group: int, draw: int) -> None:
        """Do the same for one group whose passes torch shuffles, in less time."""
        arrays = (self._unit, self._start, self._length, self._low, self._stop, self._base)
        size, start, room, old_low, stop, base = (int(each[group]) for each in arrays)
        low = draw - draw % size
        kept = stop - low if old_low <= low < stop else 0
        room += size if draw > low or kept else 0
        keys = derived_keys(self._keys[group], np.arange((low + kept) // size, (low + room) // size))
        members, generator = self._partition.indices(group), torch.Generator("cpu")
        self._stop[group] = 0
        self._cache[start : start + kept] = self._cache[base + low : base + low + kept]
        for key, place in zip(keys.tolist(), range(start + kept, start + room, size), strict=True):
            order = torch_shuffle(key, size, generator)
            members.take(order, out=self._cache[place : place + size], mode="clip")  # other modes go through a copy
        self._low[group], self._base[group], self._stop[group] = low, start - low, low + room

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
