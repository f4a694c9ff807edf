"""Ways to and from an accelerator on which the host waits for nothing that is not needed yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["HostCopy", "to_device"]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device; on CUDA the host does not wait for what the GPU still has to do."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class HostCopy:
    """The values of a tensor, on their way from an accelerator to the host.

    On CUDA they travel while the GPU goes on. Other devices have no copy that is safe to leave alone (Apple's reads
    memory that may be freed by then), so there the copy is made when it is read.

    Args:
        tensor: on an accelerator; nobody may write to it any more.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._values, self._event = tensor, None
        if tensor.device.type == "cuda":
            self._values = tensor.to("cpu", non_blocking=True)  # into pinned memory
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record(torch.cuda.current_stream(tensor.device))  # that of the copy, whatever device is current

    def read(self) -> NDArray[Any]:
        """Wait for the values and return them."""
        if self._event is not None:
            self._event.synchronize()
        values: NDArray[Any] = self._values.cpu().numpy()
        return values
