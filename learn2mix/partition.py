"""Which samples belong to which group."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.apportioning import cut_evenly
from learn2mix.checks import Counts, Vector, check_whole, frozen
from learn2mix.labels import (
    Array,
    Codes,
    as_plain,
    as_targets,
    check_order,
    encode,
    encode_combinations,
    index_type,
    sort_by_group,
)
from learn2mix.partition_file import fingerprint, read_partition, write_partition

MOST_SAMPLES = 1 << 62


class Partition:
    """The samples of a data set, split into groups.

    Make one with :meth:`by_class`, :meth:`by_quantile` or :meth:`by_dataset`. A partition never changes.

    Args:
        sizes: samples of each group, whole numbers of at least 0, not all 0, shape ``(num_groups,)``.
        group_names: one name per group: integers, strings or tuples of them.
        order: all sample indices, group after group, shape ``(num_samples,)``; None if they already lie in that order.

    Attributes:
        sizes: samples of each group, shape ``(num_groups,)``, int64, read-only.
        offsets: where each group begins in ``order``, and the last one ends, shape ``(num_groups + 1,)``, as ``sizes``.

    Raises:
        ValueError: if a size is negative, all are 0, there is not one name per group, or ``order`` does not have each
            index once.
        TypeError: if a size or an index is not whole, or a name is neither an integer, a string nor a tuple of them.

    Example:
        >>> partition = Partition.by_class(["dog", "cat", "dog"])
        >>> partition.group_names, partition.sizes, partition.indices(1)
        (['cat', 'dog'], array([1, 2]), array([0, 2], dtype=int32))
    """

    def __init__(self, sizes: Sequence[int] | Counts, group_names: Iterable[int | str], order: Array | None = None):
        self._group_names = plain_names(group_names)
        self.sizes = _check_sizes(sizes, self._group_names)
        self.offsets: Counts = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        self._order = None if order is None else check_order(order, self.num_samples).view()
        self._fingerprint: int | None = None
        self._path: str | None = None  # of the file that the order is mapped from
        self._freeze()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs; one of a partition from a file maps the same file."""
        return {"_path": self._path, "_fingerprint": self._fingerprint} if self._path else self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state.get("_path"):
            made, expected = Partition.load(state["_path"]), state["_fingerprint"]
            if made.fingerprint() != expected:
                raise ValueError(
                    f"path: {state['_path']!r} has another partition than when this copy was sent; leave the file as "
                    "it is while it is used"
                )
            state = made.__dict__
        self.__dict__.update(state)
        self._freeze()  # NumPy copies to writable arrays

    def _freeze(self) -> None:
        for array in (self.sizes, self.offsets, self._order):
            if array is not None:
                frozen(array)

    @classmethod
    def by_class(cls, labels: Sequence[Any] | ArrayLike, *more_labels: Sequence[Any] | ArrayLike) -> Partition:
        """Group samples by their labels: one group for each label that occurs, sorted and named by label.

        Several labels make one group for each combination that occurs, named by a tuple. The partition keeps 4 bytes
        per sample (8 from 2 ** 31 samples on) and reads memory maps in parts; :meth:`save` and :meth:`load` share it.

        Args:
            labels: integer (at least 0) or string label of each sample, 1-D array-like of shape ``(num_samples,)``; or
                tuples of such labels.
            more_labels: further labels of the same samples, each as ``labels``.

        Raises:
            ValueError: if labels are empty, not 1-D, have a negative value, or differ in length.
            TypeError: if labels are neither integers nor strings.

        Example:
            >>> Partition.by_class([7, 3, 3]).group_names
            [3, 7]
            >>> Partition.by_class(["bird", "fish", "bird"], [0, 1, 1]).group_names
            [('bird', 0), ('bird', 1), ('fish', 1)]
        """
        names, codes = encode(labels)
        if more_labels:
            names, codes = encode_combinations([(names, codes), *map(encode, more_labels)])
        return _ordered(cls, names, *sort_by_group(codes, len(names)))

    @classmethod
    def by_quantile(cls, targets: Sequence[float] | ArrayLike, num_groups: int) -> Partition:
        """Group samples by a continuous target, from the lowest to the highest, in groups as even as ties allow.

        Equal targets are always in one group, and no group is empty. They are named 0 (lowest) to ``num_groups - 1``.

        Args:
            targets: a finite number for each sample, 1-D array-like of shape ``(num_samples,)``.
            num_groups: at least 1, and at most the number of different targets.

        Raises:
            ValueError: if a target is NaN or infinite, they are not 1-D, or fewer than ``num_groups`` differ.
            TypeError: if they are no real numbers, or ``num_groups`` is not whole.

        Example:
            >>> partition = Partition.by_quantile([0.0, 9.5, 0.0, 0.0, 1.5, 2.5], num_groups=2)
            >>> partition.indices(0), partition.indices(1)
            (array([0, 2, 3], dtype=int32), array([1, 4, 5], dtype=int32))
        """
        values, codes, counts = np.unique(as_targets(targets), return_inverse=True, return_counts=True)
        if check_whole(num_groups, "num_groups") > len(values):
            raise ValueError(
                f"num_groups must be at most the number of different targets, {len(values)}, got {num_groups}"
            )
        group_of_value = np.repeat(np.arange(num_groups), np.diff(cut_evenly(counts, num_groups), append=len(values)))
        return _ordered(cls, range(num_groups), *sort_by_group(Codes(codes, group_of_value), num_groups))

    @classmethod
    def by_dataset(
        cls, datasets: Mapping[Any, Sized] | Sequence[Sized] | Any, group_names: Iterable[Any] | None = None
    ) -> Partition:
        """Make each data set of a ``torch.utils.data.ConcatDataset`` a group, in memory of the number of groups.

        Args:
            datasets: the ``ConcatDataset``, or the sized data sets in the order in which they are concatenated; a
                mapping names them.
            group_names: one name per data set; None numbers them from 0, or takes the keys of a mapping.

        Raises:
            ValueError: if all are empty, there is not one name per data set, or ``group_names`` come with a mapping.
            TypeError: if a data set has no length, or ``datasets`` is no collection of data sets.

        Example:
            >>> Partition.by_dataset({"web": range(3), "books": range(5)}).sizes
            array([3, 5])
        """
        sizes, names = _sizes_of(datasets, group_names)
        return cls(sizes, names)

    @property
    def group_names(self) -> list[Any]:
        """One name per group; a new list."""
        return list(self._group_names)

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
        return index_type(self.num_samples)

    @property
    def proportions(self) -> Vector:
        """The data's own mix, shape ``(num_groups,)``, float64, read-only."""
        return frozen(self.sizes / self.num_samples)

    def indices(self, group: int) -> Array:
        """Return the data set indices of one group, ascending, shape ``(sizes[group],)``, read-only."""
        low, high = self.offsets[group], self.offsets[group + 1]
        return frozen(np.arange(low, high, dtype=self.index_dtype)) if self._order is None else self._order[low:high]

    def at(self, places: Array) -> Array:
        """Return the data set indices at some places of the groups as they lie one after the other."""
        return places if self._order is None else self._order.take(places)

    def fingerprint(self) -> int:
        """Return a number that tells this partition from others: a CRC-32 of names, sizes and members."""
        if self._fingerprint is None:
            order = [] if self._order is None else [self._order.data]
            self._fingerprint = fingerprint(self._group_names, self.sizes, order)
        return self._fingerprint

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the partition to a file, for :meth:`load`; of one by data sets that is a few bytes per group."""
        write_partition(path, self._group_names, self.sizes, self._order, self.fingerprint())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Partition:
        """Return the partition that :meth:`save` wrote to a file.

        The samples' order stays in the file, a memory map that all processes share. Copies of this partition, such as
        those sent to workers, map the same file.

        Raises:
            ValueError: if the file is of something else, or was changed since it was saved.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     Partition.by_class(["dog", "cat", "dog"]).save(f"{folder}/groups")
            ...     Partition.load(f"{folder}/groups").indices(1)
            array([0, 2], dtype=int32)
        """
        names, sizes, order, found = read_partition(path)
        partition = _ordered(cls, names, sizes, order)
        partition._fingerprint = found
        partition._path = None if order is None else os.path.abspath(path)
        return partition


def _ordered(kind: type[Partition], group_names: Iterable[Any], sizes: Counts, order: Array | None) -> Partition:
    """Make a partition of an order that is known to have each index once."""
    partition = kind(sizes, group_names)
    partition._order = None if order is None else frozen(order.view())
    return partition


def plain_names(names: Iterable[Any], argument: str = "group_names") -> list[Any]:
    """Return the names of groups as they go into a state: numbers and strings of Python.

    Example:
        >>> plain_names(np.array(["web", "books"]))
        ['web', 'books']
    """
    plain = []
    for given in names:
        name = as_plain(given)
        if isinstance(name, tuple):
            name = tuple(plain_names(name, argument))
        elif not isinstance(name, (int, str)):
            raise TypeError(f"{argument} must be integers, strings or tuples of them, got {name!r}")
        plain.append(name)
    return plain


def _sizes_of(datasets: Any, group_names: Iterable[Any] | None) -> tuple[list[int], Iterable[Any]]:
    """Return how many samples each data set has, and its name."""
    if isinstance(datasets, Mapping):
        if group_names is not None:
            raise ValueError(f"group_names: the keys of datasets are the names; leave it out, got {group_names!r}")
        group_names, datasets = list(datasets), list(datasets.values())
    members = getattr(datasets, "datasets", datasets)
    if not isinstance(members, Sequence) or isinstance(members, str):
        raise TypeError(
            "datasets must be a ConcatDataset, a sequence or a mapping of data sets, got "
            f"{type(datasets).__name__}; to group the samples of one use Partition.by_class(labels)"
        )
    without = [index for index, member in enumerate(members) if not hasattr(member, "__len__")]
    if without:
        raise TypeError(f"datasets: number {without[0]} has no length; only sized data sets can be partitioned")
    sizes = [len(member) for member in members]
    if sum(sizes) == 0:
        raise ValueError(f"datasets must hold at least one sample, got {len(members)} data sets without any")
    return sizes, range(len(members)) if group_names is None else group_names


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
    if sum(array.tolist()) > MOST_SAMPLES:
        raise ValueError(f"sizes must sum to at most 2 ** 62, got {sum(array.tolist())}")
    return array.astype(np.int64)


def is_in_order(partition: Partition) -> bool:
    """Whether the samples of each group follow those of the group before, as whole data sets do."""
    return partition._order is None
