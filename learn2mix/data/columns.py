"""Arrays of one length, side by side: a batch is one gather per array."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

Indices = Sequence[int] | NDArray[Any] | Tensor
Column = Tensor | NDArray[Any]

UNSIGNED = {np.dtype(np.int64): np.uint64, np.dtype(np.int32): np.uint32}  # the types that torch takes as indices


class Columns:
    """Arrays whose rows are samples, with names or without.

    Tensors, and arrays that torch can share the memory of, are gathered by torch; memory maps and arrays that may not
    be written to by NumPy.

    Args:
        arrays: tensors and arrays, shape ``(num_samples, ...)``, or a mapping from names to them.
        device: where they go; None leaves them where they are. On the CPU, what NumPy gathers stays what it is.
    """

    def __init__(self, arrays: Sequence[Any] | Mapping[str, Any], device: torch.device | str | None = None) -> None:
        self.names = tuple(arrays) if isinstance(arrays, Mapping) else None
        values = arrays.values() if isinstance(arrays, Mapping) else arrays
        self.values = [_as_column(value, device) for value in values]
        lengths = [len(value) for value in self.values]
        if len(set(lengths)) != 1:
            raise ValueError(f"arrays must be at least one, all of one length, got lengths {lengths}")
        self.length = lengths[0]
        devices = {value.device for value in self.values if isinstance(value, Tensor)} or {torch.device("cpu")}
        if len(devices) > 1:
            raise ValueError(f"arrays must be on one device, got {sorted(map(str, devices))}; give device=")
        self.device = devices.pop()

    @property
    def mapped(self) -> bool:
        """Whether one is a memory map."""
        return any(find_file(value) for value in self.values)

    def gather(self, indices: Indices | slice) -> list[Tensor]:
        """Return the rows at some indices of each array, in their order, as new tensors on the device.

        Raises:
            IndexError: if an index is out of range.
        """
        index = self._as_index(indices)
        on_device = index if isinstance(index, Tensor) else self._send(index)
        # index_select copies whole rows: of 1,000 digits in a sixth of the time of value[index].
        return [
            value.index_select(0, on_device)
            if isinstance(value, Tensor)
            else torch.from_numpy(value.take(index, axis=0))
            for value in self.values
        ]

    def named(self, values: Sequence[Any]) -> Any:
        """Return values, one for each array, as the arrays were given: a list, or a dict by their names."""
        return list(values) if self.names is None else dict(zip(self.names, values, strict=True))

    def to(self, device: torch.device | str) -> Columns:
        """Return the same arrays on a device."""
        return Columns(self.named(self.values), device)

    def _as_index(self, indices: Indices | slice) -> NDArray[Any] | Tensor:
        """Return whole numbers of at least 0; a tensor only where it lies on the device of the data already."""
        if isinstance(indices, Tensor) and indices.device.type != "cpu":
            return indices.nonzero().squeeze(1) if indices.dtype == torch.bool else indices
        if isinstance(indices, slice):
            return np.arange(*indices.indices(self.length))
        index = np.asarray(indices)
        if index.dtype not in UNSIGNED or index.ndim != 1:
            index = self._from_mask(index)
        # As unsigned numbers the negative ones are too large: one pass finds both.
        if index.size and index.view(UNSIGNED[index.dtype]).max() >= self.length:
            if index.min() < -self.length or index.max() >= self.length:
                raise IndexError(f"indices must be below {self.length}, got {index.min()} to {index.max()}")
            index = np.where(index < 0, index + self.length, index)
        return index

    def _from_mask(self, index: NDArray[Any]) -> NDArray[np.int64]:
        """Return the places that a mask chooses, or whole numbers of another type."""
        if index.dtype == np.bool_ and index.shape == (self.length,):
            return np.flatnonzero(index)
        if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
            raise IndexError(f"indices must be whole numbers, 1-D, got {index.dtype} of shape {index.shape}")
        return index.astype(np.int64)

    def _send(self, index: NDArray[Any]) -> Tensor:
        """Return indices on the device of the data; the host does not wait for the copy."""
        tensor = torch.from_numpy(index if index.flags.writeable else index.copy())
        device = self.device
        if device.type == "cpu":
            return tensor
        if get_worker_info() is not None:
            raise RuntimeError(
                f"InMemory: the data are on {device}, where a worker process cannot gather them; use num_workers=0, or "
                "keep the data on the CPU"
            )
        return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"values": [find_file(value) or value for value in self.values]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        values = [value.open() if isinstance(value, MappedFile) else value for value in state["values"]]
        self.__dict__.update(state | {"values": values})


class MappedFile(NamedTuple):
    """Where the values of a mapped array are: a worker process opens the file, where a pickle would hold all of it."""

    path: str
    offset: int  # bytes from the start of the file to the first value
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def open(self) -> NDArray[Any]:
        """Map the array again, to be read."""
        file = np.memmap(self.path, dtype=np.uint8, mode="r")
        array: NDArray[Any] = np.ndarray(self.shape, self.dtype, file, self.offset, self.strides)
        return array


def find_file(array: Column) -> MappedFile | None:
    """Return the file that an array, or the array that it is a view of, was mapped from; None for any other.

    None too for a map whose changes stay in memory (``mode="c"``): the file has other values.
    """
    if not isinstance(array, np.ndarray):
        return None
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c" or root.base is None:
        return None
    offset = root.offset + _address(array) - _address(root)
    return MappedFile(str(root.filename), offset, array.dtype, array.shape, array.strides)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _as_column(values: Any, device: torch.device | str | None) -> Column:
    """Return a tensor, with the memory of ``values`` where it may be shared, or else an array to be read by NumPy."""
    column: Column = values if isinstance(values, Tensor) else np.asarray(values)
    if column.ndim == 0:
        raise ValueError("arrays must have a row for each sample, got a single value")
    if isinstance(column, np.ndarray):
        try:
            torch.from_numpy(np.empty(0, column.dtype))
        except (TypeError, ValueError):
            raise TypeError(f"arrays must be of a type that torch has, got {column.dtype}") from None
        if device is not None and torch.device(device).type != "cpu":
            column = torch.from_numpy(np.array(column))  # a copy: torch makes no tensor of one that is read-only
        elif column.flags.writeable and find_file(column) is None:
            with suppress(ValueError):  # of strides that torch has not
                column = torch.from_numpy(column)
    return column if device is None or isinstance(column, np.ndarray) else column.to(device)
