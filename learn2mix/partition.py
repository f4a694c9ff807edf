"""Which samples belong to which group."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized

    from numpy.typing import ArrayLike, NDArray

    from learn2mix.checks import Counts, Vector

    Array = NDArray[Any]

__all__ = ["Partition", "plain_names"]

CHUNK = 1 << 20  # samples sorted at a time, so that the temporary arrays stay small


class Partition:
    """The samples of a data set, split into groups.

    Use :meth:`by_class` or :meth:`by_dataset` to make one.

    Args:
        sizes: samples of each group, whole numbers of at least 0, not all 0, shape ``(num_groups,)``.
        group_names: one name a group: integers, strings or tuples of them.
        order: all sample indices, group after group, shape ``(num_samples,)``; None if they already lie in that order.

    Raises:
        ValueError: if a size is negative, all are 0, or there is not one name a group.
        TypeError: if a size is not whole, or a name is neither an integer, a string nor a tuple of them.

    Example:
        >>> partition = Partition.by_class(["dog", "cat", "dog"])
        >>> partition.group_names, partition.sizes, partition.indices(1)
        (['cat', 'dog'], array([1, 2]), array([0, 2], dtype=int32))
    """

    def __init__(self, sizes: Sequence[int] | Counts, group_names: Iterable[int | str], order: Array | None = None):
        self.group_names = plain_names(group_names)
        self.sizes = _check_sizes(sizes, self.group_names)
        self.offsets: Counts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        self._order = order
        self._fingerprint: int | None = None

    @classmethod
    def by_class(cls, labels: Sequence[int] | Sequence[str] | ArrayLike) -> Partition:
        """Group samples by their labels.

        Args:
            labels: integer (at least 0) or string label of each sample, 1-D array-like of shape ``(num_samples,)``.

        Returns:
            One group for each label that occurs, in sorted order, named by it.

        Raises:
            ValueError: if ``labels`` is empty, not 1-D, or has a negative value.
            TypeError: if the labels are neither integers nor strings.

        Example:
            >>> Partition.by_class([7, 3, 3]).group_names
            [3, 7]
        """
        labels = _check_labels(labels)
        names = np.unique(labels)
        dtype = np.min_scalar_type(len(names) - 1)
        codes = np.empty(len(labels), dtype=dtype)
        sizes = np.zeros(len(names), dtype=np.int64)
        for start in range(0, len(labels), CHUNK):
            chunk = np.searchsorted(names, labels[start : start + CHUNK])
            codes[start : start + CHUNK] = chunk
            sizes += np.bincount(chunk, minlength=len(names))
        return cls(sizes, names.tolist(), _sort_by_group(codes, sizes))

    @classmethod
    def by_dataset(
        cls, datasets: Mapping[Any, Sized] | Sequence[Sized] | Any, group_names: Iterable[Any] | None = None
    ) -> Partition:
        """Make each data set of a ``torch.utils.data.ConcatDataset`` a group, in memory of the number of groups.

        Args:
            datasets: the ``ConcatDataset``, or the sized data sets in the order in which they are concatenated; a
                mapping names them.
            group_names: one name a data set; None numbers them from 0, or takes the keys of a mapping.

        Raises:
            ValueError: if there is no data set, all are empty, there is not one name a data set, or a mapping is
                named once more.
            TypeError: if a data set has no length, or ``datasets`` is no collection of data sets.

        Example:
            >>> Partition.by_dataset({"web": range(3), "books": range(5)}).sizes
            array([3, 5])
        """
        if isinstance(datasets, Mapping):
            if group_names is not None:
                raise ValueError(f"group_names: the keys of datasets are the names; leave it out, got {group_names!r}")
            group_names = list(datasets)
        members = _members(datasets)
        without = [index for index, member in enumerate(members) if not hasattr(member, "__len__")]
        if without:
            raise TypeError(f"datasets: number {without[0]} has no length; only sized data sets can be partitioned")
        sizes = [len(member) for member in members]
        if sum(sizes) == 0:
            raise ValueError(f"datasets must hold at least one sample, got {len(members)} data sets without any")
        return cls(sizes, range(len(members)) if group_names is None else group_names)

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return len(self.sizes)

    @property
    def num_samples(self) -> int:
        """Samples in all groups together."""
        return int(self.offsets[-1])

    @property
    def index_dtype(self) -> type[np.signedinteger[Any]]:
        """The smallest type that holds every index."""
        return _index_dtype(self.num_samples)

    @property
    def proportions(self) -> Vector:
        """The data's own mix, shape ``(num_groups,)``."""
        return self.sizes / self.num_samples

    def indices(self, group: int) -> Array:
        """Return the data set indices of one group, ascending, shape ``(sizes[group],)``."""
        start, stop = self.offsets[group], self.offsets[group + 1]
        return np.arange(start, stop) if self._order is None else self._order[start:stop]

    def fingerprint(self) -> int:
        """Return a number that tells this partition from others: a CRC-32 of names, sizes and members."""
        if self._fingerprint is None:
            crc = zlib.crc32("\0".join(map(str, self.group_names)).encode())
            crc = zlib.crc32(self.sizes.tobytes(), crc)
            self._fingerprint = crc if self._order is None else zlib.crc32(self._order.data, crc)
        return self._fingerprint


def plain_names(names: Iterable[Any], argument: str = "group_names") -> list[Any]:
    """Return the names of groups as they go into a state: NumPy's as those of Python.

    Args:
        names: of the groups.
        argument: what an error calls them.

    Raises:
        TypeError: if one is neither an integer, a string nor a tuple of them.

    Example:
        >>> plain_names(np.array(["web", "books"]))
        ['web', 'books']
    """
    return [_plain(name, argument) for name in names]


def _plain(name: Any, argument: str) -> Any:
    if isinstance(name, np.generic):
        name = name.item()
    if isinstance(name, tuple):
        return tuple(_plain(part, argument) for part in name)
    if not isinstance(name, (int, str)):
        raise TypeError(f"{argument} must be integers, strings or tuples of them, got {name!r}")
    return name


def _check_sizes(sizes: Sequence[int] | Counts, names: list[Any]) -> Counts:
    array = np.array(sizes)
    if array.ndim != 1:
        raise ValueError(f"sizes must be 1-D, got shape {array.shape}")
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"sizes must be whole numbers, got {array.dtype}")
    if len(names) != len(array) or len(set(names)) != len(names):
        raise ValueError(f"group_names must name each of {len(array)} groups once, got {names}")
    if array.min(initial=0) < 0:
        group = int(np.flatnonzero(array < 0)[0])
        raise ValueError(f"sizes must be at least 0, got {array[group]} for group {names[group]!r}")
    if not array.any():
        raise ValueError(f"sizes must sum to at least 1, got 0 samples in {len(array)} groups")
    return array.astype(np.int64)


def _members(datasets: Any) -> list[Any]:
    if isinstance(datasets, Mapping):
        return list(datasets.values())
    members = getattr(datasets, "datasets", datasets)
    if not isinstance(members, Sequence) or isinstance(members, str):
        raise TypeError(
            f"datasets must be a ConcatDataset, a sequence or a mapping of data sets, got {type(datasets).__name__}; "
            "to group the samples of one by their labels, use Partition.by_class(labels)"
        )
    return list(members)


def _check_labels(labels: ArrayLike) -> Array:
    if not (isinstance(labels, Sequence) or hasattr(labels, "__array__") or np.isscalar(labels)):
        raise TypeError(f"labels must be a 1-D array or sequence, one label a sample, got {type(labels).__name__}")
    try:
        array: Array = np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"labels must be 1-D, one label a sample: {error}") from error
    if array.dtype == object or (array.dtype.kind == "U" and not isinstance(labels, np.ndarray)):
        array = _from_objects(np.asarray(labels, dtype=object))  # NumPy would spell NaN and numbers among strings
    if array.ndim != 1:
        hint = "; if they are one-hot, give labels.argmax(1)" if array.ndim == 2 else ""
        hint = "; give labels.squeeze(1)" if array.shape[1:] == (1,) else hint
        raise ValueError(f"labels must be 1-D, one label a sample, got shape {array.shape}{hint}")
    if array.size == 0:
        raise ValueError("labels must hold at least one sample, got none")
    if array.dtype.kind not in "iubUT":
        hint = ""
        if array.dtype.kind == "f":
            whole, unknown = "labels.long()" if hasattr(labels, "long") else "np.asarray(labels, int)", np.isnan(array)
            hint = f"; {unknown.sum()} of {array.size} are NaN" if unknown.any() else f"; give {whole}"
        raise TypeError(f"labels must be integers or strings, got {array.dtype}{hint}")
    if array.dtype.kind == "i" and array.min() < 0:
        negative = np.flatnonzero(array < 0)
        raise ValueError(
            f"labels: {len(negative)} of {array.size} are negative (first at index {negative[0]}: "
            f"{array[negative[0]]}); mark unlabelled samples as a group of their own or drop them"
        )
    return array


def _from_objects(array: Array) -> Array:
    kinds = sorted({type(value).__name__ for value in array.flat})
    if len(kinds) != 1:
        raise TypeError(f"labels must be all integers or all strings, got a mix of {', '.join(kinds) or 'nothing'}")
    return np.array(array.tolist())


def _sort_by_group(codes: Array, sizes: Counts) -> Array:
    """Return all sample indices, group after group, ascending within a group: a counting sort by chunks."""
    order = np.empty(len(codes), dtype=_index_dtype(len(codes)))
    cursor = np.cumsum(sizes) - sizes
    for start in range(0, len(codes), CHUNK):
        chunk = codes[start : start + CHUNK]
        counts = np.bincount(chunk, minlength=len(sizes))
        slots = np.repeat(cursor - (counts.cumsum() - counts), counts) + np.arange(len(chunk))
        order[slots] = chunk.argsort(kind="stable") + start
        cursor += counts
    return order


def _index_dtype(num_samples: int) -> type[np.signedinteger[Any]]:
    return np.int32 if num_samples <= np.iinfo(np.int32).max else np.int64
