"""The sums of one batch on their way over the processes and to the host, and a check that all hold the same."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from learn2mix.checks import Counts, Vector
from learn2mix.feedback.group_losses import refuse_capture, sum_on_device, sum_on_host, to_device
from learn2mix.feedback.processes import Processes

NUM_CHECKS = 4
NUM_SHOWN = 5  # ranks in a message
MADE_OF, FIRST = "make-up of this batch", "first sample of"  # what must match beside what the user gave
WAYS_OUT = {
    MADE_OF: "; the same num_workers and prefetch_factor too, for so many batches are composed ahead of the losses",
    FIRST: "; each source whole and in the same order, for the stream splits it (shuffle it with a seed), or split so "
    "that it shows: by torch.distributed.get_rank() in its __iter__, or Hugging Face's split_dataset_by_node",
}
MOST_COPIED = 1 << 16  # losses of a batch on a GPU; more are summed there


class BatchSums(NamedTuple):
    """Sums and counts of the losses of a batch by group, on the host, each of shape ``(num_groups,)``."""

    sums: Vector
    counts: Vector | Counts
    batch: int  # its number
    apart: dict[str, int] | None = None  # what had to be the same on every process, if it was not


class PendingLosses:
    """Losses of a batch that a CUDA device is at work on; the host sums them once they have come.

    One copy that nobody waits for, in the place of a dozen kernels: in small steps it is the calls that take the time.

    Args:
        losses: on the device, shape ``(num_samples,)``, detached.
        groups: number of the group of each.
        batch: number of the batch.
        weights: what each loss counts; None for 1 each.
        how: further arguments of :func:`sum_on_host`.
    """

    late = True

    def __init__(
        self, losses: Tensor, groups: NDArray[np.int64], batch: int, *, weights: Tensor | None = None, **how: Any
    ) -> None:
        self._groups, self._batch, self._how = groups, batch, how
        self._losses = losses.to("cpu", non_blocking=True)  # into pinned memory
        self._weights = weights
        if weights is not None and weights.device == losses.device:
            self._weights = weights.detach().to("cpu", non_blocking=True)
        elif weights is not None:
            self._weights = weights.detach().to("cpu", copy=True)  # for the caller may write to its own
        self._copied = _recorded(losses.device)

    def read(self) -> BatchSums:
        """Wait for the losses and return their sums."""
        self._copied.synchronize()
        return BatchSums(*sum_on_host(self._losses, self._groups, weights=self._weights, **self._how), self._batch)


class PendingSums:
    """Sums of a batch that the other processes, an accelerator, or both are at work on.

    The table holds the sums, then the counts, shape ``(2 * num_groups,)``. Of several processes there follow, instead
    of ``batch``, how many of them know the batch, the sum of its number over them, and the checks of ``must_match``.
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
        self._batch, self._work, self._must_match, self._num_processes = batch, work, must_match, num_processes
        self.late = table.device.type != "cpu"  # so the host reads them once the next batch is under way
        self._table = table
        self._copied: torch.cuda.Event | None = None
        if table.device.type == "cuda":  # copied while the GPU goes on; Apple's memory may be freed before it is read
            self._table = table.to("cpu", non_blocking=True)  # into pinned memory
            self._copied = _recorded(table.device)

    def read(self) -> BatchSums:
        """Wait for the sums and return them; no collective, so any process may do it at any time."""
        if self._work is not None and not self.late:
            try:
                self._work.wait()
            except RuntimeError as error:
                raise RuntimeError(
                    "losses: they were not summed over the processes, each of which calls observe for each batch, with "
                    "its losses or with None (or a ReweightedLoss in training): one of them has failed, stopped, or "
                    f"called it more or less often ({error})"
                ) from error
        if self._copied is not None:
            self._copied.synchronize()
        values = self._table.cpu().numpy().astype(np.float64, copy=False)
        if self._must_match is None:
            sums, counts = np.split(values, 2)
            return BatchSums(sums, counts, self._batch or 0)
        table, (times, number), checks = np.split(values, [-NUM_CHECKS - 2, -NUM_CHECKS])
        same = same_everywhere(checks.tolist(), self._num_processes)
        sums, counts = np.split(table, 2)
        return BatchSums(sums, counts, int(number / times) if times else 0, None if same else self._must_match)


Pending = PendingSums | PendingLosses


def send_to_host(
    losses: Tensor, groups: NDArray[np.int64], num_groups: int, batch: int, counts: Counts | None, **how: Any
) -> Pending:
    """Send the losses of a batch from an accelerator: a GPU's as they are unless very many, else their sums."""
    if losses.device.type == "cuda" and len(groups) <= MOST_COPIED:
        refuse_capture()
        return PendingLosses(losses, groups, batch, num_groups=num_groups, counts=counts, **how)
    return PendingSums(sum_on_device(losses, groups, num_groups, **how), batch)


def _recorded(device: torch.device) -> torch.cuda.Event:
    """Return an event that comes once a device has done what it has to do by now."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))  # of the losses' device, whichever is current
    return event


def sum_over_processes(
    sums: Tensor, batch: int | None, must_match: dict[str, int], processes: Processes, device: torch.device | None
) -> PendingSums:
    """Begin to sum those of a batch over the processes; each of them does so for each batch.

    ``batch`` is None if this process does not know its losses, ``device`` if it never knew any.
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


def checks_of(must_match: dict[str, int]) -> list[float]:
    """Return numbers whose sums over all processes show whether these hold the same values.

    Two halves of a checksum, of 16 bits each, and their squares: float64 holds the sums of the squares exactly on up to
    2 ** 21 processes.

    Example:
        >>> same_everywhere([2 * check for check in checks_of({"seed": 7})], num_processes=2)
        True
    """
    halves = divmod(zlib.crc32(repr(must_match).encode()), 1 << 16)
    return [float(value) for half in halves for value in (half, half**2)]


def same_everywhere(sums: Sequence[float], num_processes: int) -> bool:
    """Say by the sums of :func:`checks_of` over the processes whether all had the same checks.

    All are equal if and only if ``n * sum(check ** 2) == sum(check) ** 2`` (Cauchy and Schwarz), compared as whole
    numbers, for a square of a sum has more digits than a float64. So one all-reduce tells every process of a mismatch.
    """
    totals = [int(value) for value in sums]
    pairs = zip(totals[::2], totals[1::2], strict=True)
    return all(num_processes * total_of_squares == total**2 for total, total_of_squares in pairs)


def differences(must_match: Mapping[int, dict[str, int]]) -> str | None:
    """Return the message that names the ranks that differ from the first, by what, with values; None if none does."""
    start, first = next(iter(must_match.items()))
    found = {rank: [name for name in first if other.get(name) != first[name]] for rank, other in must_match.items()}
    differing = {rank: [n for n in names if n != MADE_OF] or names for rank, names in found.items() if names}
    if not differing:
        return None
    shown = dict(list(differing.items())[:NUM_SHOWN])
    said = [f"rank {rank} has another {' and '.join(names)} than rank {start}" for rank, names in shown.items()]
    if len(differing) > NUM_SHOWN:
        said.append(f"{len(differing) - NUM_SHOWN} more ranks differ")
    named = {name for names in differing.values() for name in names}
    shown = {start: [name for name in first if name in named]} | shown
    values = [
        f"rank {rank}: " + ", ".join(f"{name} {must_match[rank].get(name)}" for name in names)
        for rank, names in shown.items()
    ]
    ways_out = [way_out for start, way_out in WAYS_OUT.items() if any(name.startswith(start) for name in named)]
    return (
        f"the processes have come apart: {'; '.join(said)}. Give each the same data, mixer, seed, state and "
        f"number of batches{''.join(ways_out)} ({'; '.join(values)})"
    )
