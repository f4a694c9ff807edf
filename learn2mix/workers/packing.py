"""An answer as one message: what it is made of, and one block of bytes with all its tensors and arrays."""

from __future__ import annotations

import io
import os
import pickle
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info
from torch.utils.data._utils.pin_memory import pin_memory

SMALL = 1 << 16  # bytes that a pipe holds: they are sent faster than a block of shared memory
ALIGNMENT = 64
SHARED_MEMORY = "/dev/shm"


class Block:
    """Memory for the tensors of an answer: shared where they are large and there is room, else sent through a pipe.

    Args:
        num_bytes: its size.
        shares: whether it may be shared memory, which has no name, so that it ends with its last user.

    Attributes:
        shortage: why it is not shared though it is large; else None.
    """

    __slots__ = ("_memory", "shortage")

    def __init__(self, num_bytes: int, *, shares: bool = True) -> None:
        self._memory: Tensor | bytearray | None = None
        self.shortage: str | None = None
        if shares and num_bytes > SMALL:
            try:
                self._memory = _shared(num_bytes)
            except RuntimeError as error:
                self.shortage = (
                    f"MixedLoader: {error}, so samples go through pipes, which takes longer; give {SHARED_MEMORY} more "
                    "room (docker run --shm-size=2g), or pass a smaller prefetch_factor or batch_size"
                )
        if self._memory is None:
            self._memory = bytearray(max(num_bytes, 1))

    def as_array(self) -> NDArray[np.uint8]:
        """Return its bytes."""
        memory: Any = self._memory
        return np.frombuffer(memory, np.uint8) if isinstance(memory, bytearray) else memory.numpy()


def _shared(num_bytes: int) -> Tensor:
    """Return new shared memory, or raise a RuntimeError that says why there is none."""
    # All workers may ask at once, and a write that finds no room kills the process.
    info = get_worker_info()
    needed = num_bytes * (info.num_workers if info else 1)
    if os.path.isdir(SHARED_MEMORY):
        room = os.statvfs(SHARED_MEMORY)
        if room.f_bavail * room.f_frsize < needed:
            raise RuntimeError(f"shared memory has no room for {needed >> 10} KiB")
    storage = torch.UntypedStorage._new_shared(num_bytes)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload,no-any-return]


class Packed:
    """An answer as one message: faster than each tensor in shared memory of its own, with a file descriptor for each.

    Args:
        answer: anything that can be pickled. Its tensors and arrays are not: their bytes are in the block.
        block: where all of them lie already; None copies them to a new one.
        shares: whether a new block may be shared memory.
    """

    __slots__ = ("_block", "_data", "_places")

    def __init__(self, answer: Any, block: Block | None = None, *, shares: bool = True) -> None:
        buffers: list[pickle.PickleBuffer] = []
        packed = io.BytesIO()
        _Pickler(packed, protocol=5, buffer_callback=buffers.append).dump(answer)
        self._data = packed.getvalue()
        parts = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
        if block is None:
            *starts, size = np.cumsum([0, *(aligned(len(part)) for part in parts)]).tolist()
            block = Block(size, shares=shares)
            whole = block.as_array()
            for start, part in zip(starts, parts, strict=True):
                whole[start : start + len(part)] = part
        else:
            begin = block.as_array().ctypes.data
            starts = [part.ctypes.data - begin for part in parts]
        self._block = block
        self._places = [(start, start + len(part)) for start, part in zip(starts, parts, strict=True)]

    def unpack(self) -> Any:
        """Return the answer; its tensors lie in the block, which lives as long as they do. Warn of a shortage."""
        if self._block.shortage is not None:
            warnings.warn(self._block.shortage, stacklevel=2)
        whole = memoryview(self._block.as_array())  # type: ignore[arg-type]
        return pickle.loads(self._data, buffers=[whole[start:stop] for start, stop in self._places])

    def pin_memory(self) -> Any:
        """Return the answer in pinned memory: what torch's thread for that asks for."""
        return pinned(self.unpack())


def pinned(value: Any) -> Any:
    """Return what torch's loader makes of a batch under ``pin_memory=True``."""
    return pin_memory(value)  # type: ignore[no-untyped-call]


def aligned(num_bytes: int) -> int:
    """Return where the next tensor in a block begins, after one of so many bytes."""
    return -(-num_bytes // ALIGNMENT) * ALIGNMENT


class _Pickler(pickle.Pickler):
    """Packs tensors as NumPy's arrays: in a tenth of the time that torch's own way takes for small ones."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor or value.device.type != "cpu" or value.layout != torch.strided:
            return NotImplemented
        try:
            return torch.from_numpy, (value.numpy(),)
        except TypeError:  # a type that NumPy has not, such as bfloat16
            as_bytes = value.contiguous().view(-1).view(torch.uint8).numpy()
            return _tensor_of, (as_bytes, value.dtype, tuple(value.shape))
        except RuntimeError:  # one with a gradient
            return NotImplemented


def _tensor_of(as_bytes: NDArray[np.uint8], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(as_bytes).view(dtype).view(shape)
