"""Labels and targets as users have them, turned into NumPy arrays, or into an error that says what to give instead."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learn2mix.checks import on_the_host

Array = NDArray[Any]
CHUNK = 1 << 20  # samples sorted at a time, so that the temporary arrays stay small


def encode(labels: Any) -> tuple[list[Any], Array]:
    """Return the labels that occur, sorted, and the number of each sample's among them.

    Args:
        labels: one integer, string or tuple of them for each sample.

    Example:
        >>> encode([7, 3, 3])
        ([3, 7], array([1, 0, 0], dtype=uint8))
    """
    columns = _as_columns(labels)
    if columns is not None:
        return encode_combinations([encode(column) for column in columns])
    array = _as_labels(labels)
    names = np.unique(array)
    codes = np.empty(len(array), dtype=np.min_scalar_type(len(names) - 1))
    for start in range(0, len(array), CHUNK):
        codes[start : start + CHUNK] = np.searchsorted(names, array[start : start + CHUNK])
    return names.tolist(), codes


def encode_combinations(columns: list[tuple[list[Any], Array]]) -> tuple[list[Any], Array]:
    """Return the tuples that occur, sorted, and the number of each sample's; ``columns`` are from :func:`encode`."""
    lengths = [len(codes) for _, codes in columns]
    if len(set(lengths)) > 1:
        raise ValueError(f"labels must all be of the same samples, got lengths {', '.join(map(str, lengths))}")
    first, codes = columns[0]
    names = [(name,) for name in first]
    for further, more in columns[1:]:
        # One column after the other, so that the numbers stay below num_samples ** 2.
        pairs, codes = np.unique(codes.astype(np.int64) * len(further) + more, return_inverse=True)
        names = [(*names[pair // len(further)], further[pair % len(further)]) for pair in pairs.tolist()]
    return names, codes.astype(np.min_scalar_type(len(names) - 1))


def as_targets(targets: ArrayLike) -> Array:
    """Return targets as an array of finite numbers, shape ``(num_samples,)``."""
    array = np.asarray(on_the_host(targets, "targets"))
    if array.dtype.kind not in "iuf":
        raise TypeError(f"targets must be real numbers, got {array.dtype}")
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


def _as_columns(labels: Any) -> list[Any] | None:
    """Return the columns of labels that are tuples, or None where they are something else."""
    is_array = getattr(getattr(labels, "dtype", None), "kind", "") == "O"
    if not (isinstance(labels, Sequence) or is_array) or isinstance(labels, (str, bytes)) or not len(labels):
        return None
    rows = list(labels)
    if not any(isinstance(row, tuple) for row in rows):
        return None
    others = sorted({type(row).__name__ for row in rows if not isinstance(row, tuple)})
    if others:
        raise TypeError(f"labels must be all tuples or none of them, got tuples and {', '.join(others)}")
    lengths = {len(row) for row in rows}
    if len(lengths) > 1 or 0 in lengths:
        raise ValueError(f"labels: tuples must all have the same length of at least 1, got {sorted(lengths)}")
    return [list(column) for column in zip(*rows, strict=True)]


def _as_labels(labels: Any) -> Array:
    """Return labels as an array of integers (at least 0) or strings, shape ``(num_samples,)``."""
    array = _as_array(labels)
    if array.ndim != 1:
        hint = _columns_hint(array) if array.ndim == 2 else ""
        raise ValueError(f"labels must be 1-D, one label a sample, got shape {array.shape}{hint}")
    if array.size == 0:
        raise ValueError("labels must hold at least one sample, got none")
    if array.dtype.kind not in "iubUT":
        hint = _number_hint(array, labels) if array.dtype.kind == "f" else ""
        raise TypeError(f"labels must be integers or strings, got {array.dtype}{hint}")
    if array.dtype.kind == "i" and array.min() < 0:
        negative = np.flatnonzero(array < 0)
        raise ValueError(
            f"labels: {len(negative)} of {array.size} are negative (first at index {negative[0]}: "
            f"{array[negative[0]]}); mark unlabelled samples as a group of their own or drop them"
        )
    return array


def _as_array(labels: Any) -> Array:
    if not (isinstance(labels, Sequence) or hasattr(labels, "__array__") or np.isscalar(labels)):
        raise TypeError(f"labels must be a 1-D array or sequence, one label a sample, got {type(labels).__name__}")
    labels = on_the_host(labels, "labels")
    try:
        array: Array = np.asarray(labels)
    except ValueError as error:
        raise ValueError(f"labels must be 1-D, one label a sample: {error}") from error
    if array.dtype != object and (array.dtype.kind != "U" or isinstance(labels, np.ndarray)):
        return array
    array = np.asarray(labels, dtype=object)  # NumPy would spell NaN and numbers among strings
    kinds = sorted({type(value).__name__ for value in array.flat})
    if len(kinds) != 1:
        raise TypeError(f"labels must be all integers or all strings, got a mix of {', '.join(kinds) or 'nothing'}")
    return np.array(array.tolist())


def _columns_hint(array: Array) -> str:
    """Say what to give for a table: one-hot rows have an argmax, others are attributes, each a column."""
    if array.shape[1] == 1:
        return "; give labels.squeeze(1)"
    numbers = array.size > 0 and array.dtype.kind in "iubf"
    if numbers and np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all():
        return "; if they are one-hot, give labels.argmax(1)"
    if numbers and array.dtype.kind == "f" and (array >= 0).all() and np.allclose(array.sum(1), 1, atol=1e-3):
        return "; if they are probabilities of classes, labels.argmax(1) is the likeliest of each sample"
    if array.dtype.kind == "f" and not _whole(array):
        return "; pick one column: Partition.by_quantile(labels[:, 0], num_groups=10)"
    columns = ", ".join(f"labels[:, {column}]" for column in range(min(array.shape[1], 3)))
    columns += ", ..." if array.shape[1] > 3 else ""
    return (
        f"; for a group of each combination that occurs, give Partition.by_class({columns}), or pick one attribute: "
        "labels[:, 0]"
    )


def _number_hint(array: Array, labels: Any) -> str:
    """Say what to give for floats: whole ones are labels of another type, others targets to be binned."""
    unknown = int(np.isnan(array).sum())
    if unknown:
        return f"; {unknown} of {array.size} are NaN"
    if _whole(array):
        return f"; give {'labels.long()' if hasattr(labels, 'long') else 'np.asarray(labels, int)'}"
    return "; bin continuous targets by quantiles: Partition.by_quantile(targets, num_groups=10)"


def _whole(array: Array) -> bool:
    return bool((np.isfinite(array) & (array == np.floor(array))).all())
