"""Labels and targets as users have them, turned into NumPy arrays, or into an error that says what to give instead."""

import warnings
from collections.abc import Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learn2mix.checks import Counts, on_the_host
from learn2mix.label_advice import BY_DATASET, FOR_MISSING, FOR_SEVERAL, for_many, for_object, for_table, for_values

Array = NDArray[Any]
FEW_GROUPS = 64  # never said to be too many
CHUNK = 1 << 20  # samples sorted at a time, so that the temporary arrays stay small
TABLE = 1 << 16  # integers below this are looked up in a table; of many samples, below an eighth of their number


@dataclass(frozen=True)
class Codes:
    """The number of each sample's group: its label, looked up in a table a chunk at a time."""

    labels: Array  # shape (num_samples,), at least 0
    table: Array  # the number of the group of each label

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Array:
        return self.table[self.labels[part]]


def encode(labels: Any) -> tuple[list[Any], Array | Codes]:
    """Return the labels that occur, sorted, and the number of each sample's among them."""
    labels = at_once(labels)
    columns = _as_columns(labels)
    if columns is not None:
        return encode_combinations([encode(column) for column in columns])
    array = _as_labels(labels)
    found = _number(array)
    if len(found[0]) > max(FEW_GROUPS, len(array) // 2):
        warnings.warn(
            f"labels: {len(array)} samples have {len(found[0])} different ones, so most groups are a sample or two"
            f"{for_many(array)}",
            stacklevel=4,
        )
    return found


def _number(array: Array) -> tuple[list[Any], Array | Codes]:
    """Return the labels that occur, sorted, and the number of each sample's, of an array of labels."""
    if array.dtype.kind in "iu" and array.max() < max(TABLE, len(array) // 8):
        occurs = np.zeros(int(array.max()) + 1, dtype=bool)
        for start in range(0, len(array), CHUNK):
            occurs[array[start : start + CHUNK]] = True
        names = occurs.nonzero()[0]
        return names.tolist(), Codes(array, (occurs.cumsum() - 1).astype(_smallest_type(len(names))))
    names = np.unique(array)
    codes = np.empty(len(array), dtype=_smallest_type(len(names)))
    for start in range(0, len(array), CHUNK):
        codes[start : start + CHUNK] = np.searchsorted(names, array[start : start + CHUNK])
    return names.tolist(), codes


def encode_combinations(columns: list[tuple[list[Any], Array | Codes]]) -> tuple[list[Any], Array]:
    """Return the tuples that occur, sorted, and the number of each sample's; ``columns`` are from :func:`encode`."""
    lengths = [len(codes) for _, codes in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"labels must all be of the same samples, got lengths {', '.join(map(str, lengths))}")
    first, found = columns[0]
    names, codes = [(name,) for name in first], found[:]
    for further, more in columns[1:]:
        # One column after the other, so that the numbers stay below num_samples ** 2.
        pairs, codes = np.unique(codes.astype(np.int64) * len(further) + more[:], return_inverse=True)
        names = [(*names[pair // len(further)], further[pair % len(further)]) for pair in pairs.tolist()]
    return names, codes.astype(_smallest_type(len(names)))


def sort_by_group(codes: Array | Codes, num_groups: int) -> tuple[Counts, Array]:
    """Return the samples of each group, and all samples, group after group, by a counting sort in chunks."""
    sizes = np.zeros(num_groups, dtype=np.int64)
    for start in range(0, len(codes), CHUNK):
        sizes += np.bincount(codes[start : start + CHUNK], minlength=num_groups)
    order = np.empty(len(codes), dtype=index_type(len(codes)))
    cursor = np.cumsum(sizes) - sizes  # the place in order of each group's next sample
    for start in range(0, len(codes), CHUNK):
        chunk = codes[start : start + CHUNK]
        counts = np.bincount(chunk, minlength=num_groups)
        slots = np.repeat(cursor - (counts.cumsum() - counts), counts)
        slots += np.arange(len(chunk))
        order[slots] = _stable_order(chunk) + start
        cursor += counts
    return sizes, order


def check_order(order: Any, num_samples: int) -> Array:
    """Return an array that has each index of a data set once, or raise a TypeError or a ValueError."""
    array = np.asarray(order)
    if array.dtype.kind not in "iu":
        raise TypeError(f"order must be whole numbers, got {array.dtype}")
    if array.shape != (num_samples,):
        raise ValueError(f"order must have the index of each of {num_samples} samples, got shape {array.shape}")
    missing = np.ones(num_samples, dtype=bool)
    inside = (array >= 0) & (array < num_samples)
    missing[array[inside]] = False
    if missing.any():
        raise ValueError(f"order must have each index from 0 to {num_samples - 1} once, but lacks {missing.argmax()}")
    return array


def _stable_order(codes: Array) -> Array:
    """Return what sorts codes below 2 ** 32, equal ones in their order; of 16 bits NumPy sorts in linear time."""
    if codes.dtype.itemsize <= 2:
        return codes.argsort(kind="stable")
    by_low: Array = codes.astype(np.uint16).argsort(kind="stable")
    return by_low[(codes >> 16).astype(np.uint16)[by_low].argsort(kind="stable")]


def index_type(num_samples: int) -> type[np.signedinteger[Any]]:
    """Return the smallest type that holds every index: int32 takes 4 bytes, int64 takes 8."""
    return np.int32 if num_samples <= np.iinfo(np.int32).max else np.int64


def _smallest_type(num_groups: int) -> Any:
    return np.min_scalar_type(num_groups - 1)


def as_targets(targets: ArrayLike) -> Array:
    """Return targets as an array of finite numbers, shape ``(num_samples,)``."""
    array = np.asarray(_one_for_each(at_once(targets), "targets"))
    if array.dtype.kind not in "iuf":
        hint = "; for a group of each label give Partition.by_class(labels)" if array.dtype.kind in "UTOb" else ""
        raise TypeError(f"targets must be real numbers, got {array.dtype}{hint}")
    if array.ndim != 1:
        hint = "; give targets.squeeze(1)" if array.shape[1:] == (1,) else "; give one column: targets[:, 0]"
        hint = hint if array.ndim == 2 else ""
        raise ValueError(f"targets must be 1-D, one target a sample, got shape {array.shape}{hint}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(
            f"targets: {len(bad)} of {array.size} are not finite (first at index {bad[0]}: {array[bad[0]]}); drop "
            "these samples, or make groups of your own and give them to Partition.by_class"
        )
    return array


def is_hugging_face(data: Any) -> bool:
    """Whether data are a data set of Hugging Face's, and not of a package of one's own that has the same name."""
    of_theirs = {"datasets.arrow_dataset", "datasets.iterable_dataset"}
    return not of_theirs.isdisjoint(kind.__module__ for kind in type(data).__mro__)


def at_once(labels: Any) -> Any:
    """Return a column of Hugging Face's, which is read sample by sample, as the array or list that it reads at once."""
    if not (hasattr(labels, "column_name") and hasattr(labels, "__len__")):
        return labels
    table = getattr(labels.source, "format", {"type": None})  # a transform gets few samples at a time
    return list(labels) if table["type"] == "custom" else labels[:]


def _as_columns(labels: Any) -> list[Any] | None:
    """Return the columns of labels that are tuples, or None where they are something else."""
    is_array = getattr(getattr(labels, "dtype", None), "kind", "") == "O"
    if not (isinstance(labels, Sequence) or is_array) or isinstance(labels, (str, bytes)) or not len(labels):
        return None
    rows = list(np.asarray(labels) if is_array else labels)  # text of HDF5 comes at once
    if not any(isinstance(row, tuple) for row in rows):
        return None
    others = sorted({type(row).__name__ for row in rows if not isinstance(row, tuple)})
    if others:
        raise TypeError(f"labels must be all tuples or none of them, got tuples and {', '.join(others)}")
    lengths = {len(row) for row in rows}
    if len(lengths) > 1 or 0 in lengths:
        rule = "tuples must all have the same length of at least 1"
        raise ValueError(f"labels: {rule}, got {sorted(lengths)}{FOR_SEVERAL}")
    return [list(column) for column in zip(*rows, strict=True)]


def as_tuples(labels: Any, count: int | None) -> list[Any]:
    """Return tuples, one per sample, of rows or, as torch's ``default_collate`` makes it of them, of columns.

    Where the ``count`` of samples is known, as many columns as samples are an error.
    """
    try:
        parts = [as_name(label) for label in labels]
    except TypeError:
        raise ValueError(f"groups must be one label per loss, got {labels!r}") from None
    is_list = isinstance(labels, (list, tuple)) and all(isinstance(part, tuple) for part in parts)
    are_columns = is_list and count is not None and all(len(part) == count for part in parts)
    if not are_columns or len(parts) == count:
        if are_columns and any(hasattr(label, "dtype") for label in labels):
            raise ValueError(
                f"groups: {count} arrays of {count} labels may be rows or columns; give one tuple per loss: "
                "list(zip(*columns))"
            )
        return parts
    return list(zip(*parts, strict=True))


def as_name(label: Any) -> Any:
    """Return a label as it may be a name: lists and arrays as tuples, what NumPy and torch hold as Python does."""
    label = label.tolist() if hasattr(label, "tolist") else as_plain(label)
    return tuple(map(as_name, label)) if isinstance(label, (list, tuple)) else label


def as_plain(label: Any) -> Any:
    """Return NumPy's numbers and strings as those of Python, and members of an Enum of these by their value."""
    if isinstance(label, Enum) and isinstance(label, (int, str)):
        return label.value
    return label.item() if isinstance(label, np.generic) else label


def _as_labels(labels: Any) -> Array:
    """Return labels as an array of integers (at least 0) or strings, shape ``(num_samples,)``."""
    array = _as_array(labels)
    if array.ndim != 1:
        _refuse_data_sets(labels)
        hint = for_table(array) if array.ndim == 2 else "" if array.ndim else for_object(labels)
        raise ValueError(f"labels must be 1-D, one label a sample, got shape {array.shape}{hint}")
    if array.size == 0:
        raise ValueError("labels must hold at least one sample, got none")
    if array.dtype.kind not in "iubU":
        raise TypeError(f"labels must be integers or strings, got {array.dtype}{for_values(array, labels)}")
    if array.dtype.kind == "i" and array.min() < 0:
        negative = np.flatnonzero(array < 0)
        raise ValueError(
            f"labels: {len(negative)} of {array.size} are negative (first at index {negative[0]}: "
            f"{array[negative[0]]}); mark unlabelled samples as a group of their own or drop them"
        )
    return array


def _as_array(labels: Any) -> Array:
    labels = _one_for_each(labels, "labels")
    try:
        array: Array = np.asarray(labels)
    except ValueError as error:  # rows of different lengths
        raise _describe_rows(labels, error) from error
    if array.dtype.kind not in "OTU" or (array.dtype.kind == "U" and isinstance(labels, np.ndarray)):
        return array  # not of StringDType: up to version 2.4, NumPy finds others of its strings (numpy/numpy#31533)
    array = np.asarray(labels, dtype=object)  # NumPy would spell NaN and numbers among strings
    if any(isinstance(value, (np.generic, Enum)) for value in array.flat):  # NumPy's own beside Python's
        array = np.array([as_plain(value) for value in array.flat], object)
    kinds = sorted({type(value).__name__ for value in array.flat})
    if set(kinds) & {"list", "set", "frozenset"}:
        raise TypeError(f"labels must be one integer or string a sample, got {', '.join(kinds)}{FOR_SEVERAL}")
    if len(kinds) != 1:
        hint = FOR_MISSING if {"NoneType", "NAType"} & set(kinds) or {"float", "str"} <= set(kinds) else ""
        found = ", ".join(kinds) or "nothing"
        raise TypeError(f"labels must be all integers or all strings, got a mix of {found}{hint}")
    return np.array(array.tolist())


def _describe_rows(labels: Any, error: ValueError) -> Exception:
    """Return the error for rows that NumPy makes no array of: several labels for each sample, or data sets."""
    if not all(hasattr(row, "__len__") for row in labels):
        return ValueError(f"labels must be 1-D, one label a sample: {error}")
    _refuse_data_sets(labels)
    lengths = sorted({len(row) for row in labels})
    found = f"rows of {lengths[0]} to {lengths[-1]}"
    if any(hasattr(row, "tolist") for row in labels):  # a Counter takes each tensor for a label of its own
        found += "; make lists of them: labels = [row.tolist() for row in labels]"
    return ValueError(f"labels must be 1-D, one label a sample, got {found}{FOR_SEVERAL}")


def _refuse_data_sets(labels: Any) -> None:
    if isinstance(labels, (list, tuple)) and not any(
        isinstance(row, (list, tuple, Set)) or hasattr(row, "ndim") for row in labels
    ):
        raise TypeError(f"labels must be integers or strings, got {type(labels[0]).__name__}{BY_DATASET}")


def _one_for_each(values: Any, name: str) -> Any:
    """Return what is an array or a sequence, on the host; else raise a TypeError that says where its labels may be."""
    is_table = hasattr(values, "__array__") and hasattr(values, "columns")
    is_array = isinstance(values, Sequence) or hasattr(values, "__array__") or np.isscalar(values)
    if is_table or not is_array:
        raise TypeError(
            f"{name} must be a 1-D array or sequence, one {name.removesuffix('s')} a sample, got "
            f"{type(values).__name__}{for_object(values, name)}"
        )
    return on_the_host(values, name)
