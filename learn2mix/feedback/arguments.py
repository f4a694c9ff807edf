"""Checks of the losses and groups that a training loop reports."""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from learn2mix.checks import Vector, as_losses

FOR_A_STREAM = "for a MixedStream use MixedLoader(stream), or DataLoader(stream, batch_size=None)"


def check_losses(losses: Tensor | ArrayLike, count: int, name: str = "losses") -> Tensor:
    """Return the losses of a batch as a detached tensor of floats, shape ``(count,)``; they may be on any device."""
    losses = _as_tensor(losses)
    shape = tuple(losses.shape)
    if shape != (count,):
        advice = _advice(shape, count).replace("losses.", f"{name}.")
        raise ValueError(f"{name} must be one value per sample, shape ({count},), got shape {shape}; {advice}")
    return losses if losses.is_floating_point() else losses.float()


def _as_tensor(values: Tensor | ArrayLike) -> Tensor:
    if isinstance(values, torch.Tensor):
        return values.detach()
    if isinstance(values, (list, tuple)):
        device = next((value.device for value in values if isinstance(value, torch.Tensor)), None)
        if device is not None:
            return torch.stack([torch.as_tensor(value, device=device).detach() for value in values])
    return torch.as_tensor(np.asarray(values), device="cpu")  # whatever torch.set_default_device says


def _advice(shape: tuple[int, ...], count: int) -> str:
    """Return what to do with losses that are of another shape than ``(count,)``."""
    if shape in ((), (1,)):
        return 'make the criterion with reduction="none"'
    if shape == (count, 1):
        return "give losses.squeeze(1)"
    if shape[0] == count:
        return "give the mean of each sample: losses.flatten(1).mean(1)"
    if len(shape) > 1 and shape[1] == count:
        way_out = "losses.squeeze(0)" if shape[0] == 1 else "losses.mean(0) if these are views of the same samples"
        return f"give {way_out}; {FOR_A_STREAM}"
    if len(shape) > 1:
        return f"give one value for each: losses.flatten(1).mean(1); {FOR_A_STREAM}"
    if shape[0] < count:
        return (
            "where collate_fn left samples out, call observe(None), or pass groups= with the group of each loss that "
            "is left; concatenate the losses of micro-batches"
        )
    each, rest = divmod(shape[0], count)
    if rest:
        return "pass groups= with the group of each loss"
    return (
        f"that is {each} per sample: give losses.view({each}, {count}).mean(0) for views that were concatenated one "
        f"after the other, losses.view({count}, {each}).mean(1) for losses of a sample that are neighbours, or pass "
        f"groups= with the group of each loss; {FOR_A_STREAM}"
    )


def check_groups(groups: Tensor | ArrayLike, batch_size: int, num_groups: int) -> Tensor:
    """Return the groups of a batch as an int64 tensor, shape ``(batch_size,)``, in [0, num_groups), or raise.

    On an accelerator their range is not checked: the host would wait, and the kernel that indexes by them refuses.
    """
    try:
        numbers = groups if isinstance(groups, torch.Tensor) else torch.as_tensor(groups, device="cpu")
        found = str(numbers.dtype).removeprefix("torch.")
    except (TypeError, ValueError, RuntimeError):
        numbers, found = None, repr(groups)
    if numbers is None or numbers.is_floating_point() or numbers.is_complex():
        raise TypeError(f"groups must be the numbers of the groups, whole numbers from 0, and not labels; got {found}")
    if numbers.shape != (batch_size,):
        raise ValueError(f"groups must be one number a sample, shape ({batch_size},), got {tuple(numbers.shape)}")
    if numbers.device.type == "cpu" and batch_size:
        least, largest = int(numbers.min()), int(numbers.max())
        if least < 0 or largest >= num_groups:
            raise ValueError(f"groups must lie in [0, {num_groups}), got {least} to {largest}; numbers, and not labels")
    return numbers.long()


def check_group_losses(group_losses: Tensor | ArrayLike | None, num_groups: int) -> Vector | None:
    """Return the validation losses of the groups as a vector of shape ``(num_groups,)``, or raise a ValueError."""
    return None if group_losses is None else as_losses(group_losses, num_groups, "group_losses")
