"""Losses summed by group: of a batch where they are, of the batches since the last update on the host."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from learn2mix.checks import LOSS_ROUNDING, on_the_host
from learn2mix.feedback.devices import to_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from learn2mix.checks import Vector

__all__ = ["GroupLosses", "clear_rounding", "describe_bad_batch", "sum_batch", "sum_by_group"]


class GroupLosses:
    """Sums and counts of the losses of each group since the last update.

    Args:
        num_groups: how many groups there are.
    """

    def __init__(self, num_groups: int) -> None:
        self._table = np.zeros(2 * num_groups)  # the sums, then the counts, as of a batch

    @property
    def num_seen(self) -> int:
        """Groups that had a sample."""
        return int(np.count_nonzero(self._table[len(self._table) // 2 :]))

    def add(self, table: Vector) -> bool:
        """Add what :func:`sum_batch` returned; False, and nothing is added, if the sums grow too large."""
        with np.errstate(over="ignore"):
            total = self._table + table
            if not math.isfinite(total.sum()) and not np.isfinite(total).all():
                return False
        self._table = total
        return True

    def pop(self) -> tuple[Vector, Vector]:
        """Return the mean loss of each group, NaN where none was seen, with the counts, and begin anew."""
        sums, counts = np.split(self._table, 2)
        with np.errstate(invalid="ignore"):
            means: Vector = sums / counts  # 0 / 0 is NaN: not seen
        self._table = np.zeros_like(self._table)
        return means, counts

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums and counts; nothing where no sample was seen."""
        sums, counts = (torch.from_numpy(part.copy()) for part in np.split(self._table, 2))
        return {"sums": sums, "counts": counts} if self.num_seen else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned, from any device."""
        if not state:
            self._table = np.zeros_like(self._table)
            return
        parts = [on_the_host(state[name], name) for name in ("sums", "counts")]
        self._table = np.concatenate(parts).astype(np.float64)


def sum_batch(
    losses: Tensor, groups: NDArray[np.int64], weights: Tensor | None, num_groups: int, *, signed: bool = False
) -> Tensor:
    """Sum the losses of a batch by group, where they are.

    A loss that is negative turns the sum of its group to ``-inf`` or NaN, so that it does not hide in it. A weight that
    is negative, NaN or infinite turns the count to NaN. A sample of weight 0 counts for nothing, whatever its loss.

    Args:
        losses: shape ``(num_samples,)``, any device, detached.
        groups: group of each sample, shape ``(num_samples,)``, in [0, num_groups).
        weights: what each sample counts, shape ``(num_samples,)``, any device; None: 1 each.
        num_groups: how many groups there are.
        signed: whether values below 0 are as good as any.

    Returns:
        The sums of the losses, then the counts of the samples, shape ``(2 * num_groups,)``, on the device of the
        losses; float64, or float32 on a device that has no other.

    Example:
        >>> sum_batch(torch.tensor([1.0, 2.0, 5.0]), np.array([0, 0, 2]), None, num_groups=3)
        tensor([3., 0., 5., 2., 0., 1.], dtype=torch.float64)
    """
    with torch.no_grad():
        add_up = _sum_on_host if losses.device.type == "cpu" else _sum_on_device
        return add_up(losses, groups, weights, num_groups, signed)


def _sum_on_host(
    losses: Tensor, groups: NDArray[np.int64], weights: Tensor | None, num_groups: int, signed: bool
) -> Tensor:
    # By NumPy, which takes a fraction of torch's time for the few numbers of a batch.
    values = losses.detach().double().numpy()
    if not signed and not (values >= 0).all():
        values = clear_rounding(torch.from_numpy(values)).numpy()
    shares = np.ones(len(values))
    if weights is not None:
        shares = weights.detach().cpu().double().numpy()
        shares = np.where((shares >= 0) & np.isfinite(shares), shares, np.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.where(shares == 0, 0.0, values * shares)
    places = np.concatenate([groups, groups + num_groups])
    return torch.from_numpy(np.bincount(places, np.concatenate([values, shares]), 2 * num_groups))


def _sum_on_device(
    losses: Tensor, groups: NDArray[np.int64], weights: Tensor | None, num_groups: int, signed: bool
) -> Tensor:
    losses = losses.detach().to(_sum_dtype(losses.device))
    where = to_device(torch.from_numpy(groups if groups.flags.writeable else groups.copy()), losses.device)
    values = losses if signed else clear_rounding(losses)
    shares = torch.ones_like(values)
    if weights is not None:
        shares = to_device(weights.detach().to(losses.dtype), losses.device)
        shares = shares.masked_fill(~((shares >= 0) & shares.isfinite()), torch.nan)
        values = (values * shares).masked_fill(shares == 0, 0.0)
    return torch.cat([sum_by_group(values, where, num_groups), sum_by_group(shares, where, num_groups)])


def describe_bad_batch(names: Sequence[int | str], table: Vector, batch: int) -> str | None:
    """Return the error message for a batch that has unusable losses or weights; None if all are usable.

    Args:
        names: one name per group.
        table: what :func:`sum_batch` returned of the batch.
        batch: its number.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(table.sum()):
            return None
    sums, counts = np.split(table, 2)
    bad = np.flatnonzero(~np.isfinite(counts)).tolist()
    if bad:
        return f"weights must be finite and at least 0: batch {batch} has others {_in_groups(names, bad)}"
    bad = np.flatnonzero(~np.isfinite(sums)).tolist()
    if not bad:
        return None
    kind = "negative" if (sums[bad] == -np.inf).any() else "NaN or infinite"
    way_out = "; add a constant to all, or report another score of at least 0" if kind == "negative" else ""
    return f"losses must be finite and at least 0: batch {batch} has {kind} losses {_in_groups(names, bad)}{way_out}"


def _in_groups(names: Sequence[int | str], bad: list[int]) -> str:
    named = ", ".join(repr(names[group]) for group in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f"in {len(bad)} of {len(names)} groups ({named}); the mix stays as it was"


def clear_rounding(losses: Tensor) -> Tensor:
    """Set losses that are below 0 by rounding alone to 0, and those that are negative to ``-inf``.

    Args:
        losses: any shape; NaN stays.

    Example:
        >>> clear_rounding(torch.tensor([2.0, -1e-7, -0.5]))
        tensor([2., 0., -inf])
    """
    # masked_fill, for it hands a number to the kernel and copies none to the device.
    return losses.clamp(min=0).masked_fill(losses < -LOSS_ROUNDING, -torch.inf)


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
    losses = losses.detach().to(_sum_dtype(losses.device))
    # index_add_, for it has a deterministic kernel on every device.
    return losses.new_zeros(num_groups).index_add_(0, groups, losses)


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
