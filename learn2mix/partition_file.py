"""A partition in a file: arrays in NumPy's own format, one after the other, the last of them mapped and not read."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from learn2mix.checks import Counts
from learn2mix.labels import as_name

VERSION = 1
PIECE = 1 << 20  # bytes to check at a time

Path = str | os.PathLike[str]
Order = NDArray[Any] | None  # all samples, group after group; None if they lie so


def fingerprint(group_names: list[Any], sizes: Counts, order: Iterable[Any]) -> int:
    """Return a CRC-32 of names, sizes and the bytes of ``order``, which may come in pieces."""
    crc = zlib.crc32(sizes.tobytes(), zlib.crc32("\0".join(map(str, group_names)).encode()))
    for piece in order:
        crc = zlib.crc32(piece, crc)
    return crc


def write_partition(path: Path, group_names: list[Any], sizes: Counts, order: Order, crc: int) -> None:
    """Write a file. One that is there is replaced, and stays as it was for those who have it mapped."""
    facts = {"partition": VERSION, "fingerprint": crc, "group_names": group_names}
    text = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    unfinished = f"{os.fspath(path)}.{os.getpid()}.unfinished"
    try:
        with open(unfinished, "wb") as file:
            for array in (text, sizes, order):
                if array is not None:
                    npy.write_array(file, array, allow_pickle=False)
        os.replace(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.remove(unfinished)
        raise


def read_partition(path: Path) -> tuple[list[Any], Counts, Order, int]:
    """Return what :func:`write_partition` wrote, and check it: the order is read once, and stays in the file, mapped.

    Raises:
        ValueError: if it did not write this file, or another version of it did, or the file was changed since.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        try:
            facts = json.loads(npy.read_array(file, allow_pickle=False).tobytes())
            version = facts["partition"]
            if version == VERSION:
                names, crc = [as_name(name) for name in facts["group_names"]], facts["fingerprint"]  # lists were tuples
                sizes = npy.read_array(file, allow_pickle=False)
                order = _mapped(file)
        except Exception as error:  # whatever the parsers of headers raise at a file of another kind
            raise ValueError(f"path must be a whole file of Partition.save, got {path!r}: {error}") from error
        if version != VERSION:
            raise ValueError(
                f"path: {path!r} is of version {version!r}, and this learn2mix reads {VERSION}; make the partition "
                "from the labels and save it again"
            )
        if crc != fingerprint(names, sizes, iter(lambda: file.read(PIECE), b"")):
            raise ValueError(f"path: {path!r} was changed since it was saved; make and save it again")
    return names, sizes, order, crc


def _mapped(file: BinaryIO) -> Order:
    """Return a memory map of the array that is left in a file, and go to its first element; None at the end."""
    left = os.fstat(file.fileno()).st_size - file.tell()
    if not left:
        return None
    npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file)
    start = file.tell()
    order = np.memmap(file, dtype, "r", start, shape)
    if file.seek(0, os.SEEK_END) != start + order.nbytes:
        raise ValueError("more follows than belongs to it")
    file.seek(start)
    return order.view(np.ndarray)
