"""Whether the labels of a sampler come in the order of the data set, where the data set has them too."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from torch.utils.data import ConcatDataset

from learn2mix.data.in_memory import InMemory
from learn2mix.label_advice import USUAL_NAMES
from learn2mix.labels import Array, at_once, is_hugging_face
from learn2mix.partition import Partition, is_in_order

FEW = 8  # samples that say whether they have labels
MOST_SAMPLES = 10_000_000  # that are compared: to sort more takes seconds
# With which data set, by its id, and checksums of the labels in it that are those of the groups.
_compared: WeakKeyDictionary[Partition, tuple[int, set[int]]] = WeakKeyDictionary()


def warn_of_another_order(dataset: Any, partition: Partition) -> None:
    """Warn, once, where a data set has the same labels as the groups, each as often, and in another order.

    So too where they are those of other samples of the set that a Subset, or a split of a split, is of, and where they
    have been written to or replaced since.
    Groups that are all of one size are not compared: those of anything else may well have the same sizes.
    """
    num_samples, sizes = partition.num_samples, partition.sizes
    if num_samples > MOST_SAMPLES or is_in_order(partition):
        return
    before, same = _compared.get(partition, (0, set()))
    if before == id(dataset):
        now = {_checksum(one) for one in _labels_in(dataset, partition.group_names)} if same else same
        if now and not now & same:
            _compared[partition] = before, set()
            warnings.warn(
                "dataset: its labels have changed since the sampler got them, and the groups are those of the labels "
                "before; make a sampler of the new ones, and keep the mix: new.load_state_dict(old.state_dict(), "
                "strict=False)",
                stacklevel=4,
            )
        return
    found = _labels_in(dataset, partition.group_names)
    numbers = [_num_apart(labels, partition) for labels in found]
    same = {_checksum(labels) for labels, number in zip(found, numbers, strict=True) if number == 0}
    _compared[partition] = id(dataset), set() if _never_changes(dataset) else same
    if (sizes == sizes[0]).all():
        return
    others = [number for number in numbers if number is not None]
    if others and min(others) > 0:
        warnings.warn(
            f"dataset: it has the labels that the sampler got, but in another order, so that {min(others)} of "
            f"{num_samples} samples are in the group of another label; give the labels in the data set's own order: "
            "read without shuffle=True, of a random_split labels[train.indices] as they are, of a Hugging Face data "
            "set its column after shuffle(). Groups of something else need other names than these labels",
            stacklevel=4,
        )
    if not others and any(_num_apart(labels, partition) == 0 for labels in _mistaken_labels(dataset, partition)):
        warnings.warn(
            "dataset: the labels that the sampler got are those of other samples of the set that this Subset is of "
            f"(its first {num_samples}, or, of a split of a split, those at the indices of the last); give "
            "labels[subset.indices], of a split of a split labels[first.indices][second.indices]",
            stacklevel=4,
        )


def _checksum(labels: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(labels).view(np.uint8).data)


def _num_apart(labels: Array, partition: Partition) -> int | None:
    """Return how many samples are in the group of another label; None if the labels are not those of the groups."""
    names, counts = np.unique(labels, return_counts=True)
    if names.tolist() != partition.group_names or not np.array_equal(counts, partition.sizes):
        return None
    return int((labels[partition.at(np.arange(len(labels)))] != names.repeat(counts)).sum())


def _mistaken_labels(dataset: Any, partition: Partition) -> list[Array]:
    """Return labels of other samples that are taken for those of a Subset: of a set that it is of, however deep."""
    found, whole = [], dataset
    while _is_subset(whole):
        whole = whole.dataset
        parts = np.arange(len(dataset)), np.asarray(dataset.indices)
        found += [
            labels.take(part, mode="clip") for labels in _labels_in(whole, partition.group_names) for part in parts
        ]
    return found


def _is_subset(dataset: Any) -> bool:
    """Whether it is a Subset, also one of random_split."""
    return getattr(dataset, "__dict__", {}).keys() >= {"indices", "dataset"}


def _never_changes(dataset: Any) -> bool:
    """Whether it is one of Hugging Face's, whose labels take long to read too; or a Subset of one."""
    return is_hugging_face(dataset.dataset if _is_subset(dataset) else dataset)


def _labels_in(dataset: Any, names: list[Any]) -> list[Array]:
    """Return what may be the labels in a data set, each of shape ``(num_samples,)``; no property is asked."""
    if _is_subset(dataset):
        return [labels[np.asarray(dataset.indices)] for labels in _labels_in(dataset.dataset, names)]
    if isinstance(dataset, ConcatDataset):
        return [np.concatenate(one) for one in zip(*(_labels_in(one, names) for one in dataset.datasets), strict=False)]
    if _never_changes(dataset):
        columns = dataset.with_format(None).select_columns([one for one in USUAL_NAMES if one in dataset.column_names])
        first = columns[:FEW]  # before datasets 4 a whole column is read at once
        found = [columns[name] for name in columns.column_names if _may_be_labels(first[name], names)]
    else:
        own = getattr(dataset, "__dict__", {})
        members = dataset.arrays if isinstance(dataset, InMemory) else own.get("tensors", ())  # of a TensorDataset
        found = list(members.values() if isinstance(members, Mapping) else members)
        found += [own[name] for name in USUAL_NAMES if name in own]
    vectors = [_as_vector(one, len(dataset), names) for one in found]
    return [one for one in vectors if one is not None]


def _may_be_labels(few: Iterable[Any], names: list[Any]) -> bool:
    """Whether samples have labels there, and not tokens, boxes or texts, which would take long to read, and memory."""
    return any(
        one in names if isinstance(one, str) else isinstance(one, int) or getattr(one, "ndim", None) == 0 for one in few
    )


def _as_vector(values: Any, count: int, names: list[Any]) -> Array | None:
    """Return what may be labels as an array of shape ``(count,)``; None for anything else."""
    on_device = getattr(getattr(values, "device", None), "type", "cpu") != "cpu"  # it would be waited for
    if on_device or getattr(values, "ndim", 1) != 1 or not hasattr(values, "__len__") or len(values) != count:
        return None
    if isinstance(values, Sequence) and not _may_be_labels(islice(values, FEW), names):
        return None
    try:
        array = np.asarray(at_once(values))
    except ValueError:  # a list of lists of several lengths
        return None
    return array if array.ndim == 1 and array.dtype.kind in "iubU" else None
