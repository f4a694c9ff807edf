"""Which of how many processes this is, and the sums over those that share a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from learn2mix.checks import check_whole

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Processes", "distributed"]


def distributed() -> bool:
    """Whether ``torch.distributed`` has been set up."""
    return dist.is_available() and dist.is_initialized()


class Processes:
    """The processes that share each global batch, and sum its losses.

    Args:
        num_replicas: how many there are; None asks the process group whenever it is read.
        rank: which of them this is; None asks the process group.
        process_group: the group of these processes; None takes that of all processes, or, where ``num_replicas`` is
            another number, the only group of so many in which this process has this rank.

    Raises:
        ValueError: if only one of the two is given, one is out of range, they are not those of the group, or this
            process is no member of it.
        TypeError: if one is not whole, or ``process_group`` is no process group.
    """

    def __init__(self, num_replicas: int | None = None, rank: int | None = None, process_group: Any = None) -> None:
        self._given = _check_place(num_replicas, rank)
        self._group = process_group
        self._found: Any = None  # the group that was looked up
        self._last_known = 1, 0  # where torch.distributed is not set up, as in a worker that was spawned
        if process_group is not None:
            self._given = _check_group(process_group, self._given)

    def __getstate__(self) -> dict[str, Any]:
        # A process group stays where it is; a worker that is spawned has no torch.distributed.
        return {
            "_given": self._given,
            "_group": None,
            "_found": None,
            "_last_known": (self.num_replicas, self.rank),
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Processes:
        return self  # in this process, so the group is the same

    @property
    def num_replicas(self) -> int:
        """How many processes there are."""
        return self._place()[0]

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        return self._place()[1]

    def _place(self) -> tuple[int, int]:
        if self._given is not None:
            return self._given
        return (dist.get_world_size(), dist.get_rank()) if distributed() else self._last_known

    @property
    def shared(self) -> bool:
        """Whether losses are summed: there are several processes, and ``torch.distributed`` is set up."""
        return self.num_replicas > 1 and distributed()

    def summing_device(self, device: torch.device | None) -> torch.device:
        """Say where a tensor has to be to be summed; the same on every process that trains on such a device.

        Args:
            device: where the losses are; None where none were seen.
        """
        if device is None:
            busy = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
            device = torch.device("cuda", torch.cuda.current_device()) if busy else torch.device("cpu")
        # As in "cpu:gloo,cuda:nccl". NCCL takes tensors of the GPU only.
        kinds = [pair.split(":")[0] for pair in dist.get_backend_config(self._find_group()).split(",")]
        if device.type in kinds:
            return device
        return torch.device("cpu") if "cpu" in kinds else torch.device("cuda", torch.cuda.current_device())

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over the processes, on its own device."""
        summed = tensor.to(self.summing_device(tensor.device), copy=True)
        dist.all_reduce(summed, group=self._find_group())
        return summed.to(tensor.device)

    def start_all_reduce(self, tensor: Tensor) -> dist.Work:
        """Begin to sum a tensor over the processes, in place; it holds the sum once the work is waited for.

        Args:
            tensor: on the :meth:`summing_device`.
        """
        work: dist.Work = dist.all_reduce(tensor, group=self._find_group(), async_op=True)
        return work

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each process has, by rank."""
        gathered: list[Any] = [None] * self.num_replicas
        dist.all_gather_object(gathered, value, group=self._find_group())
        return gathered

    def _find_group(self) -> Any:
        """Return the process group; None stands for that of all processes.

        Raises:
            RuntimeError: if none or several could be meant.
        """
        size, rank = self._place()
        if self._group is not None or size == dist.get_world_size():
            return self._group
        groups = _groups_of_this_process()
        if self._found in groups:
            return self._found
        fitting = {tuple(ranks): group for group, ranks in groups.items() if len(ranks) == size}
        fitting = {ranks: group for ranks, group in fitting.items() if groups[group][dist.get_rank()] == rank}
        if len(fitting) != 1:
            raise RuntimeError(
                f"process_group must be given where num_replicas = {size} is not the {dist.get_world_size()} processes "
                f"of torch.distributed: {len(fitting) or 'no'} groups of {size} have this process as rank {rank}; pass "
                "process_group= the group of those that share a batch, as torch.distributed.new_group returns it"
            )
        (self._found,) = fitting.values()
        return self._found


def _groups_of_this_process() -> dict[Any, dict[int, int]]:
    """Return the process groups that this process is in, each with the rank in it of each of its processes.

    From a private part of torch, there from 2.1 to 2.14 at least; without it there are none, and one must be given.
    """
    world = getattr(dist.distributed_c10d, "_world", None)
    groups = getattr(world, "pg_group_ranks", {})
    return {group: ranks for group, ranks in groups.items() if dist.get_rank() in ranks}


def _check_place(num_replicas: int | None, rank: int | None) -> tuple[int, int] | None:
    if num_replicas is None and rank is None:
        return None
    if num_replicas is None or rank is None:
        raise ValueError(f"num_replicas and rank go together, got {num_replicas} and {rank}")
    place = check_whole(num_replicas, "num_replicas"), check_whole(rank, "rank", minimum=0)
    if place[1] >= place[0]:
        raise ValueError(f"rank must be below num_replicas = {num_replicas}, got {rank}")
    return place


def _check_group(process_group: Any, given: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size of a group and the rank of this process in it."""
    if dist.is_available() and process_group == dist.GroupMember.NON_GROUP_MEMBER:
        raise ValueError("process_group must be one that this process is in, got what new_group returns to others")
    if not dist.is_available() or not isinstance(process_group, dist.ProcessGroup):
        name = type(process_group).__name__
        raise TypeError(f"process_group must be a torch.distributed.ProcessGroup, as new_group returns it, got {name}")
    place = dist.get_world_size(process_group), dist.get_rank(process_group)
    if given is not None and given != place:
        raise ValueError(
            f"num_replicas and rank must be those of the process_group, {place[0]} and {place[1]}, got {given[0]} and "
            f"{given[1]}; leave them out"
        )
    return place
