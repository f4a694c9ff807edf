"""Arrays that lie in a file: a worker process opens the file again, where a pickle would hold all that is in it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class MappedFile(NamedTuple):
    """Where the values of a mapped array are."""

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


def find_file(array: NDArray[Any]) -> MappedFile | None:
    """Return the file that an array, or the array that it is a view of, was mapped from; None for any other array.

    None too for a map whose changes stay in memory (``mode="c"``): the file has other values.
    """
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c" or root.base is None:
        return None
    offset = root.offset + _address(array) - _address(root)
    return MappedFile(str(root.filename), offset, array.dtype, array.shape, array.strides)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
