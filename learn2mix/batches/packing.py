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


class Packed:
    """An answer as one message: faster than each tensor in shared memory of its own, with a file descriptor for each.

    Args:
        answer: anything that can be pickled. Its tensors and arrays are not: their bytes go to the block.
        block: shared memory in which all of them lie already; None copies them to a new block.
        shares: whether a large new block may be shared memory; else it is sent through the pipe.
        shortage: why ``answer`` is not in shared memory though it is large; a warning says it where it is unpacked.
    """

    __slots__ = ("_block", "_data", "_places", "_shortage")

    def __init__(
        self, answer: Any, *, block: Tensor | None = None, shares: bool = True, shortage: str | None = None
    ) -> None:
        buffers: list[pickle.PickleBuffer] = []
        packed = io.BytesIO()
        _Pickler(packed, protocol=5, buffer_callback=buffers.append).dump(answer)
        self._data, self._shortage = packed.getvalue(), shortage
        parts = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
        if block is None:
            sizes = [aligned(len(part)) for part in parts]
            starts = np.cumsum([0, *sizes]).tolist()
            self._block = self._new_block(starts.pop(), shares)
            for start, part in zip(starts, parts, strict=True):
                _as_array(self._block)[start : start + len(part)] = part
        else:
            starts = [part.ctypes.data - block.data_ptr() for part in parts]
            self._block = block
        self._places = [(start, start + len(part)) for start, part in zip(starts, parts, strict=True)]

    def _new_block(self, num_bytes: int, shares: bool) -> Tensor | bytearray:
        if shares and num_bytes > SMALL:
            try:
                return shared_block(num_bytes)
            except OSError as error:
                self._shortage = str(error)
        return bytearray(num_bytes)  # sent through the pipe

    def unpack(self) -> Any:
        """Return the answer; its tensors lie in the block, which lives as long as they do."""
        if self._shortage is not None:
            warnings.warn(self._shortage, stacklevel=2)
        whole = memoryview(_as_array(self._block))  # type: ignore[arg-type]
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


def shared_block(num_bytes: int) -> Tensor:
    """Return new shared memory, shape ``(num_bytes,)``, uint8: without a name, so that it ends with its last user.

    Raises:
        OSError: if there is none left. All workers may ask at once, and a write that finds no room kills the process,
            so there has to be room for a block of each.
    """
    info = get_worker_info()
    needed = num_bytes * (info.num_workers if info else 1)
    way_out = (
        f"so samples go through pipes, which takes longer; give {SHARED_MEMORY} more room (docker run --shm-size=2g), "
        "or pass a smaller prefetch_factor or batch_size"
    )
    if os.path.isdir(SHARED_MEMORY):
        room = os.statvfs(SHARED_MEMORY)
        if room.f_bavail * room.f_frsize < needed:
            raise OSError(f"MixedLoader: shared memory has no room for {needed >> 10} KiB, {way_out}")
    try:
        storage = torch.UntypedStorage._new_shared(num_bytes)  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise OSError(f"MixedLoader: shared memory cannot be had ({error}), {way_out}") from error
    return torch.empty(0, dtype=torch.uint8).set_(storage)  # type: ignore[call-overload,no-any-return]


def _as_array(block: Tensor | bytearray) -> NDArray[np.uint8]:
    return np.frombuffer(block, np.uint8) if isinstance(block, bytearray) else block.numpy()


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
