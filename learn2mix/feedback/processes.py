"""Which of how many processes this is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.distributed as dist

from learn2mix.checks import check_whole

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Processes", "all_gather", "distributed", "sum_over_processes"]


def distributed() -> bool:
    """Whether ``torch.distributed`` has been set up."""
    return dist.is_available() and dist.is_initialized()


def sum_over_processes(tensor: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes, on its own device."""
    # NCCL takes tensors of the GPU only.
    summed = tensor.cuda() if dist.get_backend() == dist.Backend.NCCL and not tensor.is_cuda else tensor.clone()
    dist.all_reduce(summed)
    return summed.to(tensor.device)


def all_gather(value: Any) -> list[Any]:
    """Return what each process has, by rank."""
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


class Processes:
    """The processes that share each global batch.

    Args:
        num_replicas: how many there are; None asks ``torch.distributed`` whenever it is read.
        rank: which of them this is; None asks ``torch.distributed``.

    Raises:
        ValueError: if only one of the two is given, or one is out of range.
        TypeError: if one is not whole.
    """

    def __init__(self, num_replicas: int | None = None, rank: int | None = None) -> None:
        if (num_replicas is None) != (rank is None):
            raise ValueError(f"num_replicas and rank go together, got {num_replicas} and {rank}")
        self._num_replicas = None if num_replicas is None else check_whole(num_replicas, "num_replicas")
        self._rank = None if rank is None else check_whole(rank, "rank", minimum=0)
        if self._num_replicas is not None and self._rank is not None and self._rank >= self._num_replicas:
            raise ValueError(f"rank must be below num_replicas = {num_replicas}, got {rank}")

    @property
    def num_replicas(self) -> int:
        """How many processes there are."""
        return self._num_replicas or (dist.get_world_size() if distributed() else 1)

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        return self._rank if self._rank is not None else dist.get_rank() if distributed() else 0
