"""The sums of one batch on their way over the processes and to the host, and a check that all hold the same."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learn2mix.checks import Counts, Vector
from learn2mix.feedback.group_losses import refuse_capture, sum_on_device, sum_on_host, to_device
from learn2mix.feedback.processes import Processes

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


class Pending(NamedTuple):
    """Sums of a batch that the other processes, an accelerator, or both are at work on."""

    read: Callable[[], BatchSums]  # waits for them; no collective, so any process may call it at any time
    late: bool  # whether the host reads them once the next batch is under way


def send_to_host(
    losses: Tensor,
    groups: NDArray[np.int64],
    num_groups: int,
    batch: int,
    *,
    weights: Tensor | None,
    counts: Counts | None,
    signed: bool,
) -> Pending:
    """Send the losses of a batch from an accelerator: a GPU's as they are unless very many, else their sums.

    One copy that nobody waits for, in the place of a dozen kernels: in small steps it is the calls that take the time.
    """
    if losses.device.type != "cuda" or len(groups) > MOST_COPIED:
        sent = _send(sum_on_device(losses, groups, num_groups, weights=weights, signed=signed), num_groups)
        return Pending(lambda: BatchSums(*sent()[:2], batch), late=True)
    refuse_capture()
    on_host = losses.to("cpu", non_blocking=True)  # into pinned memory
    if weights is not None:
        of_gpu = weights.device == losses.device  # else a copy, for the caller may write to its own
        weights = weights.detach().to("cpu", non_blocking=of_gpu, copy=not of_gpu)
    copied = _recorded(losses.device)

    def read() -> BatchSums:
        copied.synchronize()
        found = sum_on_host(on_host, groups, num_groups, weights=weights, counts=counts, signed=signed)
        return BatchSums(*found, batch)

    return Pending(read, late=True)


def sum_over_processes(
    sums: Tensor, batch: int | None, must_match: dict[str, int], processes: Processes, device: torch.device | None
) -> Pending:
    """Begin to sum those of a batch over the processes; each of them does so for each batch.

    After the sums and the counts come how many processes know the batch, the sum of its number over them, and the
    checks of ``must_match``.

    ``batch`` is None if this process does not know its losses, ``device`` if it never knew any.
    """
    device = processes.summing_device(device)
    known = [0.0, 0.0] if batch is None else [1.0, float(batch)]
    further = torch.tensor(known + checks_of(must_match), dtype=torch.float64, device="cpu")
    with torch.no_grad():
        table = torch.cat([to_device(sums, device).double(), to_device(further, device)])
    work, late = processes.start_all_reduce(table), device.type != "cpu"
    if late:
        work.wait()  # the stream waits, and not the host
    sent, num_processes = _send(table, len(sums) // 2), processes.num_replicas

    def read() -> BatchSums:
        if not late:
            try:
                work.wait()
            except RuntimeError as error:
                raise RuntimeError(
                    "losses: they were not summed over the processes, each of which calls observe for each batch, with "
                    "its losses or with None (or a ReweightedLoss in training): one of them has failed, stopped, or "
                    f"called it more or less often ({error})"
                ) from error
        sums, counts, (times, number, *checks) = sent()
        apart = None if same_everywhere(checks, num_processes) else must_match
        return BatchSums(sums, counts, int(number / times) if times else 0, apart)

    return Pending(read, late)


def _send(table: Tensor, num_groups: int) -> Callable[[], tuple[Vector, Vector, list[float]]]:
    """Send sums, counts and what follows them to the host, and return a function that waits for them."""
    sent, copied = table, None
    if table.device.type == "cuda":  # not of Apple's: its memory may be freed before it is read
        sent, copied = table.to("cpu", non_blocking=True), _recorded(table.device)  # into pinned memory

    def read() -> tuple[Vector, Vector, list[float]]:
        if copied is not None:
            copied.synchronize()
        sums, counts, further = np.split(
            sent.cpu().numpy().astype(np.float64, copy=False), [num_groups, 2 * num_groups]
        )
        return sums, counts, further.tolist()

    return read


def _recorded(device: torch.device) -> torch.cuda.Event:
    """Return an event that comes once a device has done what it has to do by now."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))  # of the losses' device, whichever is current
    return event


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


def describe_differences(must_match: Mapping[int, dict[str, int]]) -> str | None:
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
