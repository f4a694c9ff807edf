"""The sums of one batch, on their way over the processes and to the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from learn2mix.feedback.agreement import NUM_CHECKS, checks_of, same_everywhere
from learn2mix.feedback.devices import HostCopy, to_device

if TYPE_CHECKING:
    import torch.distributed as dist
    from torch import Tensor

    from learn2mix.checks import Vector
    from learn2mix.feedback.processes import Processes

__all__ = ["BatchSums", "PendingSums", "sum_over_processes"]


class BatchSums(NamedTuple):
    """Sums and counts of the losses of a batch by group, on the host.

    Attributes:
        table: the sums, then the counts, shape ``(2 * num_groups,)``, float64.
        batch: its number.
        apart: what had to be the same on every process, if it was not; else None.
    """

    table: Vector
    batch: int
    apart: dict[str, int] | None = None


class PendingSums:
    """Sums of a batch that somebody else is at work on: the other processes, an accelerator, or both.

    To wait for them is no collective, so any process may do it at any time.

    Args:
        table: the sums, then the counts, shape ``(2 * num_groups,)``. Of several processes there follow, in the same
            vector, how many of them know the batch, the sum of its number over them, and the checks.
        batch: the number of the batch; None if it is in the table.
        work: what sums a table on the host over the processes; it holds the sums once that is done.
        must_match: what is to be the same on every process.
        num_processes: how many there are.

    Attributes:
        late: whether an accelerator has them, so that the host waits until the next batch is under way.
    """

    def __init__(
        self,
        table: Tensor,
        batch: int | None = None,
        *,
        work: dist.Work | None = None,
        must_match: dict[str, int] | None = None,
        num_processes: int = 1,
    ) -> None:
        self.late = table.device.type != "cpu"
        self._batch, self._work, self._must_match, self._num_processes = batch, work, must_match, num_processes
        self._copy = HostCopy(table)

    def read(self) -> BatchSums:
        """Wait for the sums and return them."""
        if self._work is not None and not self.late:
            self._work.wait()
        values = self._copy.read().astype(np.float64, copy=False)
        if self._must_match is None:
            return BatchSums(values, self._batch or 0)
        table, (times, number), checks = np.split(values, [-NUM_CHECKS - 2, -NUM_CHECKS])
        same = same_everywhere(checks.tolist(), self._num_processes)
        return BatchSums(table, int(number / times) if times else 0, None if same else self._must_match)


def sum_over_processes(
    sums: Tensor, batch: int | None, must_match: dict[str, int], processes: Processes, device: torch.device | None
) -> PendingSums:
    """Begin to sum those of a batch over the processes; each of them does so for each batch.

    Args:
        sums: sums and counts of this process, shape ``(2 * num_groups,)``.
        batch: number of the batch; None if this process does not know its losses.
        must_match: what is to be the same on every process.
        processes: those that share the batch.
        device: where this process has its losses; None if it never knew any.
    """
    device = processes.summing_device(device)
    known = [0.0, 0.0] if batch is None else [1.0, float(batch)]
    checks = torch.tensor(known + checks_of(must_match), dtype=torch.float64, device="cpu")
    with torch.no_grad():
        table = torch.cat([to_device(sums, device).double(), to_device(checks, device)])
    work = processes.start_all_reduce(table)
    if device.type != "cpu":
        work.wait()  # the stream waits, and not the host
    return PendingSums(table, work=work, must_match=must_match, num_processes=processes.num_replicas)
