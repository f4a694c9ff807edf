"""Losses of a batch, checked and summed by group where they are, and their sums since the last update."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from learn2mix.checks import (
    LOSS_ROUNDING,
    Counts,
    Vector,
    any_negative,
    as_losses,
    as_number,
    check_dense,
    refuse_masked,
)
from learn2mix.mixers.mixes import by_name

SUMMED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # as they are
WITHOUT_PADS = " (without pads: PerSampleLoss leaves them out where logits are (batch_size, num_classes, num_tokens))"
FOR_A_STREAM = "for a MixedStream use MixedLoader(stream), or DataLoader(stream, batch_size=None)"

TO_THE_CALLBACK = (
    '; MixingCallback observes what training_step returns: {"loss": loss, "losses": losses}, with None for losses that '
    'are not known, or {..., "labels": labels} and MixingCallback(groups="labels") for losses of other samples'
)
LEAVE_OUT = (
    "; a sample without a label (all masked) counts for nothing with a weight of 0 (weights=); a batch whose step is "
    'skipped (GradScaler) is reported by observe(None), under MixingCallback by {"loss": loss, "losses": None}'
)
OF_SEVERAL = (
    "the loop has {} batches (accumulated gradients?): observe the losses of each alone, in their order; for views of "
    "one batch call observe(None) for those before it, and give the mean of each sample"
)
FEWER = (
    "call observe(None), or pass groups= with the group of each loss that is left (MixedLoader(..., on_error='skip') "
    "knows which are)"
)


def check_losses(losses: Tensor | ArrayLike, count: int, *, by_callback: bool = False, held: int = 1) -> Tensor:
    """Return the losses of a batch as a detached tensor of floats, shape ``(count,)``; they may be on any device.

    ``by_callback`` says that MixingCallback found them, so that an error says what the module returns to it, and
    ``held`` how many batches the loop has.
    """
    losses = _as_floats(losses, "losses")
    if losses.shape != (count,):
        shape = tuple(losses.shape)
        of_all = held > 1 and shape == (held * count,)
        advice = OF_SEVERAL.format(held) if of_all else _advice(shape, count)
        advice += TO_THE_CALLBACK if by_callback else ""
        raise ValueError(f"losses must be one value per sample, shape ({count},), got shape {shape}; {advice}")
    return losses


def check_weights(weights: Tensor | ArrayLike, count: int) -> Tensor:
    """Return what each loss counts as :func:`check_losses` returns the losses."""
    weights = _as_floats(weights, "weights")
    if weights.shape != (count,):
        raise ValueError(f"weights must be one per loss, shape ({count},), got shape {tuple(weights.shape)}")
    return weights


def _as_floats(values: Tensor | ArrayLike, name: str) -> Tensor:
    if isinstance(values, torch.Tensor):
        tensor = values.detach() if values.requires_grad else values
    else:
        tensor = _as_tensor(values, name)
    check_dense(tensor, name)
    if tensor.dtype in SUMMED:
        return tensor
    if tensor.is_complex():
        raise TypeError(f"{name} must be real numbers, got {tensor.dtype}; give their sizes: {name}.abs()")
    return tensor.float()


def _as_tensor(values: ArrayLike, name: str) -> Tensor:
    refuse_masked(values, name)
    if isinstance(values, (list, tuple)):
        device = next((value.device for value in values if isinstance(value, torch.Tensor)), None)
        if device is not None:
            return torch.stack([torch.as_tensor(value, device=device).detach() for value in values])
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be a tensor or array of numbers, one per sample, got {type(values).__name__}")
    array = array if array.flags.writeable else array.copy()  # torch warns of those that are not, such as a Series'
    return torch.as_tensor(array, device="cpu")  # whatever torch.set_default_device says


def _advice(shape: tuple[int, ...], count: int) -> str:
    """Return what to do with losses that are of another shape than ``(count,)``."""
    if shape in ((), (1,)):
        hint = 'make the criterion with reduction="none"'
        return f"{hint}; if it is the only sample that is left, {FEWER}" if shape else hint
    if shape == (count, 1):
        return "give losses.squeeze(1)"
    if shape == (count, count):
        return (
            "if predictions of shape (n, 1) were compared with targets of shape (n,), squeeze the predictions first: "
            "predictions.squeeze(1); of pairs give the mean of each sample: losses.mean(1)"
        )
    if shape[0] == count:
        return f"give the mean of each sample: losses.flatten(1).mean(1){WITHOUT_PADS}"
    if len(shape) > 1 and shape[1] == count:
        way_out = "losses.squeeze(0)" if shape[0] == 1 else "losses.mean(0) if these are views of the same samples"
        return f"give {way_out}; {FOR_A_STREAM}"
    if len(shape) > 1:
        return f"give one value for each: losses.flatten(1).mean(1); {FOR_A_STREAM}"
    if shape[0] < count:
        return f"where collate_fn left samples out, {FEWER}; concatenate the losses of micro-batches"
    each, rest = divmod(shape[0], count)
    if rest:
        return "pass groups= with the group of each loss"
    return (
        f"that is {each} per sample: give losses.view({each}, {count}).mean(0) for views that were concatenated one "
        f"after the other, losses.view({count}, {each}).mean(1) for losses of a sample that are neighbours"
        f"{WITHOUT_PADS}, or pass groups= with the group of each loss; {FOR_A_STREAM}"
    )


def check_groups(groups: Tensor | ArrayLike, batch_size: int, num_groups: int) -> Tensor:
    """Return the groups of a batch as an int64 tensor, shape ``(batch_size,)``, in [0, num_groups), or raise.

    On an accelerator their range is not checked: the host would wait, and the kernel that indexes by them refuses.
    """
    refuse_masked(groups, "groups")
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


def check_validation(loss: Any, group_losses: Any, group_names: list[Any]) -> tuple[float, Vector | None]:
    """Return the result of a validation run as a mixer takes it; losses of groups may come by name."""
    if group_losses is not None:
        by_group = by_name(group_losses, "group_losses", group_names, kind="loss")
        group_losses = as_losses(by_group, len(group_names), "group_losses")
    return as_number(loss, "loss", "(NaN: not known)"), group_losses


def sum_on_host(
    losses: Tensor,
    groups: NDArray[np.int64],
    num_groups: int,
    *,
    weights: Tensor | None = None,
    counts: Counts | None = None,
    signed: bool = False,
) -> tuple[Vector, Vector | Counts]:
    """Return the sums of the losses by group, and the counts: by NumPy, which is faster than torch for a batch.

    A negative loss turns the sum of its group to ``-inf`` or NaN, so that it does not hide in it. A weight that is
    negative, NaN or infinite turns the count to NaN. A sample of weight 0 counts for nothing, whatever its loss.

    The losses are detached, of any float type. Without ``weights`` each counts 1; ``counts`` by group are given where
    they are known. Losses that are ``signed`` may be negative.

    Example:
        >>> sum_on_host(torch.tensor([1.0, 2.0, 5.0]), np.array([0, 0, 2]), num_groups=3)
        (array([3., 0., 5.]), array([2, 0, 1]))
    """
    values = (losses.float() if losses.dtype is torch.bfloat16 else losses).numpy()
    if not signed and any_negative(values):
        values = _clear_rounding(torch.from_numpy(values).double()).numpy()
    shares: Vector | None = None
    if weights is not None:
        shares = weights.detach().cpu().double().numpy()
        shares = np.where((shares >= 0) & np.isfinite(shares), shares, np.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            values = np.where(shares == 0, 0.0, values.astype(np.float64) * shares)
    sums: Vector = np.bincount(groups, values, num_groups)  # type: ignore[assignment]  # they are float64
    return sums, np.bincount(groups, shares, num_groups) if counts is None else counts


def sum_on_device(
    losses: Tensor, groups: NDArray[np.int64], num_groups: int, *, weights: Tensor | None = None, signed: bool = False
) -> Tensor:
    """Return the sums, then the counts, of :func:`sum_on_host`, shape ``(2 * num_groups,)``, where the losses are."""
    losses = losses.detach().to(_sum_dtype(losses.device))
    where = to_device(torch.from_numpy(groups if groups.flags.writeable else groups.copy()), losses.device)
    values = losses if signed else _clear_rounding(losses)
    shares = torch.ones_like(values)
    if weights is not None:
        shares = to_device(weights.detach().to(losses.dtype), losses.device)
        shares = shares.masked_fill(~((shares >= 0) & shares.isfinite()), torch.nan)
        values = (values * shares).masked_fill(shares == 0, 0.0)
    return torch.cat([sum_by_group(values, where, num_groups), sum_by_group(shares, where, num_groups)])


def _clear_rounding(losses: Tensor) -> Tensor:
    """Set losses that are below 0 by rounding alone to 0, and those that are negative to ``-inf``; NaN stays."""
    # masked_fill, for it hands a number to the kernel and copies none to the device.
    return losses.clamp(min=0).masked_fill(losses < -LOSS_ROUNDING, -torch.inf)


def sum_by_group(losses: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Sum losses by group where they are, in float64, or in float32 on a device that has no other (Apple's)."""
    losses = losses.detach().to(_sum_dtype(losses.device))
    # index_add_, for it has a deterministic kernel on every device.
    return losses.new_zeros(num_groups).index_add_(0, groups, losses)


def _sum_dtype(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def refuse_capture() -> None:
    """Raise a RuntimeError in the capture of a CUDA graph, whose replays would repeat the numbers of this batch."""
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "observe, MixAdjustedLoss and ReweightedLoss belong outside of a CUDA graph, which replays the numbers of "
            "the batch that it was captured with: capture the model, and call them with what each replay computed"
        )


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device; on CUDA the host does not wait for what the GPU still has to do."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        refuse_capture()
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def describe_bad_batch(names: Sequence[int | str], sums: Vector, counts: Vector | Counts, batch: int) -> str | None:
    """Return the error message for the sums of a batch with unusable losses or weights; None if all are usable."""
    bad = np.flatnonzero(~np.isfinite(counts)).tolist()
    if bad:
        return f"weights must be finite and at least 0: batch {batch} has others {_in_groups(names, bad)}"
    bad = np.flatnonzero(~np.isfinite(sums)).tolist()
    if not bad:
        return None
    kind = "negative" if (sums[bad] == -np.inf).any() else "NaN or infinite"
    way_out = "; add a constant to all, or report another score of at least 0" if kind == "negative" else LEAVE_OUT
    return f"losses must be finite and at least 0: batch {batch} has {kind} losses {_in_groups(names, bad)}{way_out}"


def _in_groups(names: Sequence[int | str], bad: list[int]) -> str:
    named = ", ".join(repr(names[group]) for group in bad[:5]) + (", ..." if len(bad) > 5 else "")
    return f"in {len(bad)} of {len(names)} groups ({named}); the mix stays as it was"
