"""Mean loss of each group, as a metric."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torchmetrics import Metric

from learn2mix.checks import check_whole
from learn2mix.feedback.group_losses import check_groups, sum_by_group


class GroupLossMeter(Metric):
    """Mean loss of each group over all its samples, also over batches and processes.

    Args:
        num_groups: how many groups there are, at least 1.
        kwargs: what every ``torchmetrics.Metric`` takes.

    Example:
        >>> meter = GroupLossMeter(num_groups=3)
        >>> meter.update(torch.tensor([1.0, 1.0, 1.0, 5.0]), torch.tensor([0, 0, 0, 0]))
        >>> meter.update(torch.tensor([9.0]), torch.tensor([2]))
        >>> meter.compute()
        tensor([2., nan, 9.], dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, num_groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_groups = check_whole(num_groups, "num_groups")
        self.add_state("sums", torch.zeros(self.num_groups, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(self.num_groups, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, losses: Tensor, groups: Tensor) -> None:
        """Add the losses of a batch and the groups of its samples, in [0, num_groups); both of shape ``(batch_size,)``.

        Raises:
            ValueError: if the two are not 1-D and of one length, or a group is out of range.
            TypeError: if they are no tensors, or the groups are not whole numbers.
        """
        if not (isinstance(losses, Tensor) and isinstance(groups, Tensor)):
            kinds = f"{type(losses).__name__} and {type(groups).__name__}"
            raise TypeError(f"losses and groups must be tensors, got {kinds}; give torch.as_tensor(...)")
        if losses.ndim != 1 or losses.shape != groups.shape:
            shapes = f"{tuple(losses.shape)} and {tuple(groups.shape)}"
            raise ValueError(f"losses and groups must be 1-D and of one length, got shapes {shapes}")
        groups = check_groups(groups, len(losses), self.num_groups)
        self.sums += sum_by_group(losses, groups, self.num_groups)
        self.counts += sum_by_group(torch.ones_like(losses), groups, self.num_groups)

    def compute(self) -> Tensor:
        """Return the mean loss of each group, shape ``(num_groups,)``, float64 (float32 on MPS); NaN: no sample."""
        return self.sums / self.counts

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Module:
        @wraps(fn)  # torchmetrics tells by the name whether it moves the states or casts them
        def move(tensor: Tensor) -> Tensor:
            try:
                return fn(tensor)
            except TypeError:
                return fn(tensor.float())

        return super()._apply(move, exclude_state)
