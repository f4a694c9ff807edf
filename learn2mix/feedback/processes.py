"""Which of how many processes this is, and the sums over those that share a batch."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learn2mix.checks import check_whole

AVAILABLE = dist.is_available()
ALL_BATCHES = (
    "each of several processes ({}) trains on the same samples; call torch.distributed.init_process_group before the "
    "first batch, or, where Horovod, torch_xla or torchft brings them together, pass num_replicas= and rank= "
    "(num_replicas=1, rank=0 where each trains a model of its own)"
)
OF_ALONE = (
    "the mix follows the losses of this process alone, and that of the others theirs: samples are lost and doubled; "
    "gather losses and labels of all processes, and observe them on each: observe(losses, groups=labels)"
)
# Where torchrun, Horovod, MPI and torch_xla write down how many processes they have started.
STARTED = ("WORLD_SIZE", "HOROVOD_SIZE", "OMPI_COMM_WORLD_SIZE", "PJRT_LOCAL_PROCESS_COUNT")


class Processes:
    """The processes that share each global batch, and sum its losses.

    Args:
        num_replicas: how many there are; None asks the process group whenever it is read.
        rank: which of them this is; given with ``num_replicas``.
        process_group: the group of these processes; None takes that of all processes, or, where ``num_replicas`` is
            another number, the only group of so many in which this process has this rank.
    """

    def __init__(self, num_replicas: int | None = None, rank: int | None = None, process_group: Any = None) -> None:
        if (num_replicas is None) != (rank is None):
            raise ValueError(f"num_replicas and rank go together, got {num_replicas} and {rank}")
        self._given: tuple[int, int] | None = None
        if num_replicas is not None and rank is not None:
            self._given = check_whole(rank, "rank", minimum=0), check_whole(num_replicas, "num_replicas")
            if rank >= num_replicas:
                raise ValueError(f"rank must be below num_replicas = {num_replicas}, got {rank}")
        if process_group is not None:
            place = _place_in(process_group)
            if self._given not in (None, place):
                raise ValueError(
                    f"num_replicas and rank must be those of the process_group, {place[1]} and {place[0]}, got "
                    f"{num_replicas} and {rank}; leave them out"
                )
            self._given = place
        self._group = process_group  # or, once it was looked up, the one that was found
        self._last_known = 0, 1  # where torch.distributed is not set up, as in a worker that was spawned
        self._told = False  # of processes that torch.distributed does not know of

    def __getstate__(self) -> dict[str, Any]:
        # A process group stays where it is; a worker that is spawned has no torch.distributed.
        return self.__dict__ | {"_group": None, "_last_known": self.place}

    def __deepcopy__(self, memo: dict[int, Any]) -> Processes:
        return self  # in this process, so the group is the same

    @property
    def rank(self) -> int:
        """Which of the processes this is, from 0."""
        return self.place[0]

    @property
    def num_replicas(self) -> int:
        """How many processes there are."""
        return self.place[1]

    @property
    def place(self) -> tuple[int, int]:
        """Rank and number of processes."""
        if self._given is not None:
            return self._given
        set_up = AVAILABLE and dist.is_initialized()
        return (dist.get_rank(), dist.get_world_size()) if set_up else self._last_known

    @property
    def shared(self) -> bool:
        """Whether losses are summed: there are several processes, and ``torch.distributed`` is set up."""
        return AVAILABLE and dist.is_initialized() and self.place[1] > 1

    def warn_if_unknown(self, whose: str, *, losses: bool = False) -> None:
        """Warn, once, of processes that ``torch.distributed`` does not know of: of their ``losses``, or at all."""
        if self._told or (AVAILABLE and dist.is_initialized()):
            return
        started = [f"{name}={os.environ[name]}" for name in STARTED if os.environ.get(name, "1") != "1"]
        if not (self.place[1] > 1 if losses else self._given is None and started):
            return
        self._told = True
        message = OF_ALONE if losses else ALL_BATCHES.format(", ".join(started))
        warnings.warn(f"{whose}: torch.distributed is not set up, so {message}", stacklevel=2)

    def summing_device(self, device: torch.device | None) -> torch.device:
        """Say where a tensor has to be to be summed; the same on every process that trains on such a device.

        ``device`` is where the losses are; None where none were seen.
        """
        if device is None:
            busy = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
            device = torch.device("cuda", torch.cuda.current_device()) if busy else torch.device("cpu")
        # As in "cpu:gloo,cuda:nccl". NCCL takes tensors of the GPU only.
        kinds = [pair.split(":")[0] for pair in dist.get_backend_config(self._find_group()).split(",")]
        if device.type in kinds:
            return device
        return torch.device("cpu") if "cpu" in kinds else torch.device("cuda", torch.cuda.current_device())

    def start_all_reduce(self, tensor: Tensor) -> dist.Work:
        """Begin to sum a tensor on the :meth:`summing_device` over the processes, in place."""
        work: dist.Work = dist.all_reduce(tensor, group=self._find_group(), async_op=True)
        return work

    def meeting_place(self) -> tuple[Any, tuple[int, ...]]:
        """Return the store by which the processes met, and the ranks of these among all; None where there is none."""
        if not self.shared:
            return None, ()
        world = dist.group.WORLD if self.num_replicas == dist.get_world_size() else None
        group = self._group if self._group in _groups() else world
        # A private part of torch, there from 2.1 to 2.14 at least; without it nothing is compared.
        find = getattr(dist.distributed_c10d, "_get_default_store", None)
        return (None, ()) if group is None or find is None else (find(), tuple(dist.get_process_group_ranks(group)))

    def all_gather(self, value: Any) -> list[Any]:
        """Return what each process has, by rank."""
        gathered: list[Any] = [None] * self.num_replicas
        dist.all_gather_object(gathered, value, group=self._find_group())
        return gathered

    def _find_group(self) -> Any:
        """Return the process group, None for that of all; a RuntimeError if none or several could be meant."""
        (rank, size), groups = self.place, _groups()
        if self._group in groups or (self._group is not None and not groups):
            return self._group
        if size == dist.get_world_size():
            return None
        this = dist.get_rank()
        # By members: of groups with the same ones the last, as on every process.
        fitting = {
            tuple(ranks): group for group, ranks in groups.items() if len(ranks) == size and ranks.get(this) == rank
        }
        if len(fitting) != 1:
            raise RuntimeError(
                f"process_group must be given where num_replicas = {size} is not the {dist.get_world_size()} processes "
                f"of torch.distributed: {len(fitting) or 'no'} groups of {size} have this process as rank {rank}; pass "
                "process_group= the group of those that share a batch, as torch.distributed.new_group returns it"
            )
        (self._group,) = fitting.values()
        return self._group


def _groups() -> dict[Any, dict[int, int]]:
    # A private part of torch, there from 2.1 to 2.14 at least; without it no group is found, and one must be given.
    return getattr(getattr(dist.distributed_c10d, "_world", None), "pg_group_ranks", {})


def _place_in(process_group: Any) -> tuple[int, int]:
    """Return the rank of this process in a group, and the size of that."""
    if dist.is_available() and process_group == dist.GroupMember.NON_GROUP_MEMBER:
        raise ValueError("process_group must be one that this process is in, got what new_group returns to others")
    if not dist.is_available() or not isinstance(process_group, dist.ProcessGroup):
        name = type(process_group).__name__
        raise TypeError(
            "process_group must be a torch.distributed.ProcessGroup, as new_group or mesh['dp'].get_group() returns "
            f"it, got {name}"
        )
    return dist.get_rank(process_group), dist.get_world_size(process_group)
