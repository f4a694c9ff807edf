"""What to give in the place of labels that cannot be used: the end of an error's sentence, with code to copy."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BY_QUANTILE = "bin continuous targets by quantiles: Partition.by_quantile(targets, num_groups=10)"
BY_DATASET = "; for a group of each data set give Partition.by_dataset(labels)"
FOR_SEVERAL = (  # where each sample has a list or a set of labels
    "; where samples have several labels each (multi-label), give the rarest of each: count = collections.Counter("
    "label for several in labels for label in several); [min(several, key=count.get, default=NO_LABEL) for several in "
    "labels]"
)
FOR_MISSING = "; give samples without a label one of their own, such as 'unknown', or drop them"
USUAL_NAMES = ("label", "labels", "target", "targets", "fine_label", "class", "y")  # of columns and attributes


def for_object(given: Any, name: str = "labels") -> str:
    """Say where the labels are in what was given instead: a data set, a loader, a table, an iterator, a mixer.

    Example:
        >>> for_object(iter([0, 1]))
        '; give list(labels)'
        >>> for_object({"image": [], "label": []})
        "; give labels['label']"
    """
    if hasattr(given, "attach"):
        return "; the mixer comes second: MixedBatchSampler(labels, mixer, batch_size=...)"
    if isinstance(given, Iterator):
        return f"; give list({name})"
    if hasattr(given, "datasets"):
        return BY_DATASET
    if hasattr(given, "__iter__") and not hasattr(given, "__len__"):
        return "; data that can only be iterated are mixed by a MixedStream of several sources"
    if isinstance(given, Mapping):
        sized = all(hasattr(one, "__getitem__") and hasattr(one, "__len__") for one in given.values())
        split = next((key for key in ("train", "test") if key in given), None)
        if sized and split:
            return f"; pick a split: {name}[{split!r}]"
        if sized and not any(isinstance(one, (str, list, tuple)) or hasattr(one, "ndim") for one in given.values()):
            return BY_DATASET
    is_loader = hasattr(given, "batch_sampler") and hasattr(given, "dataset")
    found = _find(given.dataset, f"{name}.dataset") if is_loader else _find(given, name)
    if found is not None:
        return f"; give {found}"
    columns = [] if is_loader else _columns_of(given)
    if len(columns) > 1:
        one, other = (f"{name}[{column!r}]" for column in columns[:2])
        return (
            f"; give the column of the labels, such as {one}, or, for pairs of two, Partition.by_class({one}, {other})"
        )
    is_dataset = hasattr(given, "__getitem__") and hasattr(given, "__len__") and not isinstance(given, (str, Mapping))
    if is_dataset and not is_loader and not columns:
        return (
            f"; if it is a data set of pairs, read its labels once: [label for _, label in {name}], and keep the "
            "groups with Partition.by_class(labels).save(path)"
        )
    return "; give the label of each sample, in the order of the data set"


def _find(dataset: Any, name: str) -> str | None:
    """Return an expression for the labels in a data set; None where none is found."""
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):  # a Subset, also one of random_split
        inner = _find(dataset.dataset, f"{name}.dataset")
        return None if inner is None else f"[{inner}[index] for index in {name}.indices]"
    for collection in ("tensors", "arrays"):  # a TensorDataset, an InMemory
        members = getattr(dataset, collection, None)
        if isinstance(members, (tuple, list)):
            vectors = [place for place, member in enumerate(members) if getattr(member, "ndim", 0) == 1]
            return f"{name}.{collection}[{vectors[-1]}]" if vectors else None
        if isinstance(members, Mapping):
            return _find(members, f"{name}.{collection}")
    columns = list(dataset) if isinstance(dataset, Mapping) else _columns_of(dataset)
    if columns:
        usual = [column for column in USUAL_NAMES if column in columns]
        return f"{name}[{usual[0]!r}]" if usual else None
    usual = [attribute for attribute in USUAL_NAMES if getattr(dataset, attribute, None) is not None]
    return f"{name}.{usual[0]}" if usual else None


def _columns_of(dataset: Any) -> list[Any]:
    """Return the names of the columns of a table, pandas' or Hugging Face's; none of anything else."""
    columns = getattr(dataset, "column_names", getattr(dataset, "columns", None))
    return [] if columns is None or isinstance(columns, Mapping) or callable(columns) else list(columns)


def for_table(array: Array) -> str:
    """Say what to give for an array of two axes: one-hot rows, several labels a sample, attributes or targets."""
    continuous, one = array.dtype.kind == "f" and not is_whole(array), "labels.squeeze(1)"
    if array.shape[1] == 1:
        return f"; {BY_QUANTILE.replace('targets,', f'{one},')}" if continuous else f"; give {one}"
    numbers = array.size > 0 and array.dtype.kind in "iubf"
    binary = numbers and bool(np.isin(array, (0, 1)).all())
    if binary and (array.sum(1) == 1).all():
        return "; if they are one-hot, give labels.argmax(1)"
    if numbers and array.dtype.kind == "f" and (array >= 0).all() and np.allclose(array.sum(1), 1, atol=1e-3):
        return "; if they are probabilities of classes, labels.argmax(1) is the likeliest of each sample"
    if continuous:
        return "; pick one column: Partition.by_quantile(labels[:, 0], num_groups=10)"
    columns = ", ".join(f"labels[:, {column}]" for column in range(min(array.shape[1], 3)))
    columns += ", ..." if array.shape[1] > 3 else ""
    attributes = f"; for a group of each combination, give Partition.by_class({columns}), or pick one: labels[:, 0]"
    if not binary:
        return attributes
    rarest = "np.where(labels, labels.sum(0), np.inf).argmin(1)"
    if not array.any(1).all():  # those without a label are a group of their own
        rarest = f"np.where(labels.any(1), {rarest}, labels.shape[1])"
    return f"{attributes}; where a sample may have several of these labels (multi-label), give its rarest: {rarest}"


def for_values(array: Array, labels: Any) -> str:
    """Say what to give for what is neither integers nor text: whole floats are labels, others targets to be binned.

    Example:
        >>> for_values(np.array([0.0, 1.0]), [0.0, 1.0]), for_values(np.array([b"cat"]), [b"cat"])
        ('; give np.asarray(labels, int)', '; give np.char.decode(labels)')
    """
    if array.dtype.kind == "S":
        return "; give np.char.decode(labels)"
    if array.dtype.kind != "f":
        return "; give the text of each: [str(label) for label in labels]"
    unknown = int(np.isnan(array).sum())
    if unknown:
        return f"; {unknown} of {array.size} are NaN: drop these samples, or give them a label of their own"
    if is_whole(array):
        return f"; give {'labels.long()' if hasattr(labels, 'long') else 'np.asarray(labels, int)'}"
    return f"; {BY_QUANTILE}"


def for_many(array: Array) -> str:
    """Say what may be meant by labels of which nearly every sample has one of its own."""
    if array.dtype.kind in "iu":
        return f"; if they are numbers to predict, {BY_QUANTILE.replace('targets,', 'labels,')}"
    return "; if they are the names of samples (paths, ids), give the class of each"


def is_whole(array: Array) -> bool:
    """Whether all numbers are finite and whole."""
    return bool((np.isfinite(array) & (array == np.floor(array))).all())
