"""The losses between two updates of a mix: summed by group where they are, read by the host once an update."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from learn2mix.checks import LOSS_ROUNDING
from learn2mix.feedback.processes import all_gather, distributed, sum_over_processes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from learn2mix.checks import Counts, Vector

__all__ = ["GroupLosses", "PendingMeans", "clear_rounding", "sum_by_group"]

NEVER = (1 << 63) - 1  # no batch has this number: the least of several is the earliest


class GroupLosses:
    """Sums and counts of the losses of each group since the last update, of this process.

    Args:
        group_names: one name a group, for the errors.
    """

    def __init__(self, group_names: Sequence[int | str]) -> None:
        self._names = group_names
        self._sums = torch.zeros(len(group_names), dtype=torch.float64)
        self._spoilt = torch.full((len(group_names),), NEVER)  # the first batch with an unusable loss, a group
        self._counts = np.zeros(len(group_names), dtype=np.int64)

    def add(self, losses: Tensor, groups: NDArray[np.int64], counts: Counts, batch: int, num_replicas: int = 1) -> None:
        """Add the losses of one batch.

        A single process on a CPU finds a loss that cannot be used at once. An accelerator does not wait for the host,
        and of many processes all or none must stop: there the batch is remembered, and the error is raised when the
        sums are read.

        Args:
            losses: shape ``(num_samples,)``, any device, detached.
            groups: group of each sample, shape ``(num_samples,)``.
            counts: samples of each group, shape ``(num_groups,)``.
            batch: number of the batch, for the errors.
            num_replicas: how many processes sum their losses.

        Raises:
            ValueError: if a loss is negative, NaN or infinite; nothing is added then.
        """
        where = torch.from_numpy(groups).to(losses.device, non_blocking=True)
        # A negative loss must not hide in a sum.
        sums = sum_by_group(clear_rounding(losses), where, len(self._names))
        self._move(sums)
        if sums.device.type != "cpu" or not math.isfinite(sums.sum()):
            spoilt = torch.where(sums.isfinite(), self._spoilt, self._spoilt.clamp(max=batch))
            if sums.device.type == "cpu" and num_replicas == 1:
                raise ValueError(unusable(self._names, sums, spoilt))
            self._spoilt = spoilt
        self._sums += sums
        self._counts += counts

    def send(self, num_replicas: int, alike: dict[str, int]) -> PendingMeans:
        """Sum over processes, start the way to the host, and begin anew.

        Args:
            num_replicas: how many processes sum their losses.
            alike: numbers that must be the same on all of them, by what they stand for.
        """
        sums, counts, spoilt = self._sums, torch.from_numpy(self._counts), self._spoilt
        self._sums, self._spoilt = torch.zeros_like(sums), torch.full_like(spoilt, NEVER)
        self._counts = np.zeros_like(self._counts)
        if num_replicas == 1 or not distributed():
            return PendingMeans(self._names, sums, counts, spoilt)
        # By Cauchy and Schwarz all are the same if and only if n (sum of squares) = (sum) squared: one all-reduce
        # tells it to all processes alike, so that none goes on alone. Of 20 bits, for the squares must be exact.
        check = zlib.crc32(repr(alike).encode()) % (1 << 20)
        table = sum_over_processes(torch.cat([sums, counts.to(sums), sums.new_tensor([check, check**2])]))
        sums, counts = table[:-2].chunk(2)
        return PendingMeans(self._names, sums, counts, spoilt, alike, table[-2:])

    def restore(self, sums_and_counts: dict[str, Any]) -> PendingMeans:
        """Return what was on its way when a state was saved."""
        return PendingMeans(self._names, *(sums_and_counts[name] for name in ("sums", "counts", "spoilt")))

    def _move(self, like: Tensor) -> None:
        if self._sums.device != like.device:
            self._sums, self._spoilt = self._sums.to(like), self._spoilt.to(like.device)

    def state_dict(self, num_replicas: int) -> dict[str, Any]:
        """Return the sums and counts over all processes; with many, all must ask."""
        table, spoilt = torch.stack([self._sums, torch.from_numpy(self._counts).to(self._sums)]), self._spoilt.cpu()
        if num_replicas > 1 and distributed():
            table = sum_over_processes(table)
            spoilt = _earliest(spoilt, table[0])
        return {"sums": table[0].cpu().clone(), "counts": table[1].cpu().long(), "spoilt": spoilt.clone()}

    def load_state_dict(self, state: dict[str, Any], rank: int) -> None:
        """Restore what :meth:`state_dict` returned: the first process takes it all, so that the sums stay the same."""
        self._sums = state["sums"].to(torch.float64, copy=True) * (rank == 0)
        self._counts = state["counts"].numpy() * (rank == 0)
        self._spoilt = state["spoilt"].clone()


class PendingMeans:
    """Sums that travel to the host; from an accelerator they arrive while the next batch trains.

    Attributes:
        arrived: whether they are there already.
    """

    def __init__(
        self,
        group_names: Sequence[int | str],
        sums: Tensor,
        counts: Tensor,
        spoilt: Tensor,
        alike: dict[str, int] | None = None,
        checks: Tensor | None = None,
    ) -> None:
        self._names, self._spoilt, self._alike = group_names, spoilt, alike
        self.arrived = sums.device.type == "cpu"
        # Into pinned memory, so the copies wait for nobody.
        self._sums = sums.to("cpu", non_blocking=sums.is_cuda)
        self._counts = counts.to("cpu", non_blocking=counts.is_cuda)
        self._checks = None if checks is None else checks.to("cpu", non_blocking=checks.is_cuda)
        self._event = torch.cuda.Event() if sums.is_cuda else None  # type: ignore[no-untyped-call]
        if self._event is not None:
            self._event.record()

    def means(self) -> Vector:
        """Wait for the sums and return the mean loss of each group, NaN where none was seen.

        Raises:
            ValueError: if a loss was negative, NaN or infinite, on any process.
            RuntimeError: if the processes are not alike.
        """
        self._wait()
        if self._checks is not None:
            self._refuse_differences(*self._checks.tolist())
        if not math.isfinite(self._sums.sum()):
            spoilt = self._spoilt.cpu() if self._checks is None else _earliest(self._spoilt.cpu(), self._sums)
            raise ValueError(unusable(self._names, self._sums, spoilt))
        with np.errstate(invalid="ignore"):
            means: Vector = self._sums.double().numpy() / self._counts.numpy()  # 0 / 0 is NaN: not seen
        return means

    def state_dict(self) -> dict[str, Any]:
        """Wait for the sums and return them with the counts."""
        self._wait()
        return {"sums": self._sums.clone(), "counts": self._counts.clone(), "spoilt": self._spoilt.cpu().clone()}

    def _refuse_differences(self, total: float, total_of_squares: float) -> None:
        if dist.get_world_size() * total_of_squares == total**2:
            return
        first, *others = all_gather(self._alike)
        differences = [
            f"rank {rank} has another {' and '.join(name for name in first if other[name] != first[name])} than rank 0"
            for rank, other in enumerate(others, start=1)
            if other != first
        ]
        raise RuntimeError(
            f"the processes have come apart: {'; '.join(differences)}. Give each the same data, mixer, seed, state and "
            "number of batches"
        )

    def _wait(self) -> None:
        if self._event is not None:
            self._event.synchronize()


def _earliest(spoilt: Tensor, sums: Tensor) -> Tensor:
    """Return the first unusable batch of each group on any process; the sums are the same on all, so all come here."""
    if math.isfinite(sums.sum()):
        return spoilt
    return torch.stack(all_gather(spoilt)).amin(0)


def unusable(names: Sequence[int | str], sums: Tensor, spoilt: Tensor) -> str:
    """Return the error message for losses that are negative, NaN or infinite: the earliest batch that has some."""
    batch = int(spoilt.min())
    if batch == NEVER:
        return "losses must be finite when summed over the batches of an update, but are too large; the mix stays"
    bad = (spoilt == batch).nonzero().flatten().tolist()
    kind = "negative" if (sums[bad] == -torch.inf).any() else "NaN or infinite"
    named = ", ".join(repr(names[group]) for group in bad[:5]) + (", ..." if len(bad) > 5 else "")
    way_out = "; add a constant to all, or report another score of at least 0" if kind == "negative" else ""
    return (
        f"losses must be finite and at least 0: batch {batch} has {kind} losses in {len(bad)} of {len(names)} groups "
        f"({named}); the mix stays as it was{way_out}"
    )


def clear_rounding(losses: Tensor) -> Tensor:
    """Set losses that are below 0 by rounding alone to 0, and those that are negative to ``-inf``.

    Args:
        losses: any shape; NaN stays.

    Example:
        >>> clear_rounding(torch.tensor([2.0, -1e-7, -0.5]))
        tensor([2., 0., -inf])
    """
    return torch.where(losses < -LOSS_ROUNDING, -torch.inf, losses.clamp(min=0))


def sum_by_group(losses: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Sum losses by group, on the device where they are.

    Args:
        losses: shape ``(num_samples,)``.
        groups: group of each sample, shape ``(num_samples,)``, int64 in [0, num_groups).
        num_groups: how many groups there are.

    Returns:
        The sums, shape ``(num_groups,)``; float64, or float32 on a device that has no other.

    Example:
        >>> sum_by_group(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 0, 2]), num_groups=3)
        tensor([3., 0., 5.], dtype=torch.float64)
    """
    dtype = torch.float32 if losses.device.type == "mps" else torch.float64
    losses = losses.detach().to(dtype)
    # index_add_, for it has a deterministic kernel on every device.
    return losses.new_zeros(num_groups).index_add_(0, groups, losses)
