"""Chunks of samples, decoded or being decoded, and which sample of a batch is where in them."""

from __future__ import annotations

from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learn2mix.workers.packing import Packed
from learn2mix.workers.stacking import Stacked, gather

Indices = NDArray[np.int64]

NONE: Indices = np.zeros(0, dtype=np.int64)


class Chunk:
    """Samples that a worker decodes in one go.

    Attributes:
        indices: of the samples, shape ``(num_samples,)``.
        free: whether each is left for a batch to come, shape ``(num_samples,)``.
        content: the samples, or a batch of them; None as long as they are being decoded.
    """

    __slots__ = ("content", "free", "indices")

    def __init__(self, indices: Indices, *, free: bool = True) -> None:
        self.indices, self.free = indices, np.full(len(indices), free)
        self.content: Stacked | list[Any] | None = None

    def samples(self) -> list[Any]:
        """Return the decoded samples."""
        if isinstance(self.content, Stacked):
            self.content = self.content.samples()
        return self.content or []

    def shrink(self) -> None:
        """Copy the free samples if few are left, so that the memory of the others is given back."""
        if 0 < 2 * np.count_nonzero(self.free) < len(self.free):
            rows = self.free.nonzero()[0]
            if isinstance(self.content, Stacked):
                self.content = gather([self.content], np.zeros_like(rows), rows)
            else:
                self.content = Packed(list(compress(self.samples(), self.free)), shares=False).unpack()
            self.indices, self.free = self.indices[rows], np.ones(len(rows), dtype=bool)


# Samples of a batch: the chunks that have them, the place among these of the chunk of each sample, shape
# ``(batch_size,)``, -1 for a sample that none has, and the place of each in its chunk, same shape.
Taken = tuple[list[Chunk], Indices, Indices]


class Chunks:
    """The chunks that have samples for batches to come, the oldest first.

    A sample counts as often as it is there: a batch may hold one twice.
    """

    def __init__(self) -> None:
        self._open: dict[Chunk, None] = {}
        self._untouched: dict[bytes, Chunk] = {}  # those of which no sample is taken, by their indices

    def add(self, chunk: Chunk) -> None:
        """Add a chunk all of whose samples are free."""
        self._open[chunk] = None
        self._untouched[chunk.indices.tobytes()] = chunk

    def take(self, indices: Indices) -> Taken:
        """Take samples, as far as they are there: those of one chunk, in its order, at once."""
        whole = self._untouched.get(indices.tobytes())
        if whole is not None:
            rows = np.arange(len(indices))
            self._close(whole, rows)
            return [whole], np.zeros_like(rows), rows
        chunks = list(self._open)
        free = [chunk.free.nonzero()[0] for chunk in chunks]
        found = match(indices, self._free_indices(chunks))
        owners = np.append(np.arange(len(chunks)).repeat([len(rows) for rows in free]), -1)[found]
        rows = np.concatenate([*free, [-1]])[found]
        is_there = owners >= 0
        used, owners[is_there] = np.unique(owners[is_there], return_inverse=True)
        chunks = [chunks[owner] for owner in used.tolist()]
        for owner, chunk in enumerate(chunks):
            self._close(chunk, rows[owners == owner])
        return chunks, owners, rows

    def missing(self, batches: list[Indices], most_spare: int) -> list[Indices]:
        """Return what the next batches need that is not there, as it should be decoded: whole batches as they are.

        Args:
            batches: indices of the samples of each of the next batches.
            most_spare: samples that are kept though no batch needs them, foreseen by a mix that has moved on; the
                oldest above that are given up.
        """
        untouched = self._untouched.copy()
        whole = [untouched.pop(batch.tobytes(), None) for batch in batches]
        batches = [batch for batch, chunk in zip(batches, whole, strict=True) if chunk is None]
        loose = [chunk for chunk in self._open if chunk not in whole]
        if not batches or not loose:
            return batches
        wanted = np.concatenate(batches)
        found = match(wanted, self._free_indices(loose))
        self._give_up(loose, found, most_spare)
        lacking = np.split(found < 0, np.cumsum([len(batch) for batch in batches[:-1]]))
        parts = [batch[lacks] for batch, lacks in zip(batches, lacking, strict=True) if not lacks.all()]
        rest, size = np.concatenate([NONE, *parts]), len(batches[0])
        entire = [batch for batch, lacks in zip(batches, lacking, strict=True) if lacks.all()]
        return [rest[start : start + size] for start in range(0, len(rest), size)] + entire

    def _give_up(self, chunks: list[Chunk], found: Indices, most_spare: int) -> None:
        spare = np.ones(sum(np.count_nonzero(chunk.free) for chunk in chunks), dtype=bool)
        spare[found[found >= 0]] = False
        too_many, start = np.count_nonzero(spare) - most_spare, 0
        for chunk in chunks if too_many > 0 else ():
            free = chunk.free.nonzero()[0]
            rows = free[spare[start : start + len(free)]][:too_many]
            start, too_many = start + len(free), too_many - len(rows)
            self._close(chunk, rows)

    def _close(self, chunk: Chunk, rows: Indices) -> None:
        if not len(rows):
            return
        self._untouched.pop(chunk.indices.tobytes(), None)
        chunk.free[rows] = False
        if not chunk.free.any():
            del self._open[chunk]

    @staticmethod
    def _free_indices(chunks: list[Chunk]) -> Indices:
        return np.concatenate([NONE, *(chunk.indices[chunk.free] for chunk in chunks)])


def match(wanted: Indices, there: Indices) -> Indices:
    """Return where each value that is wanted is found, no place twice; -1 for one that is not there.

    Example:
        >>> match(np.array([7, 5, 7, 7]), np.array([5, 7, 9, 7])).tolist()
        [1, 0, 3, -1]
    """
    by_wanted, by_there = wanted.argsort(), there.argsort()
    wanted, there = wanted[by_wanted], there[by_there]
    which_of_its_equals = np.arange(len(wanted)) - wanted.searchsorted(wanted)
    at = there.searchsorted(wanted) + which_of_its_equals
    is_there = at < len(there)
    is_there[is_there] = there[at[is_there]] == wanted[is_there]
    found = np.full(len(wanted), -1)
    found[by_wanted[is_there]] = by_there[at[is_there]]
    return found
