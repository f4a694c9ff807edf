"""The mean of unreduced losses, as the criterion that gave them takes it with ``reduction="mean"``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["mean_and_each"]

# By the method, for a subclass with a forward of its own (a focal loss) takes a mean of its own.
CLASSIFICATION = (nn.CrossEntropyLoss.forward, nn.NLLLoss.forward)
CLASSIFICATION_FUNCTIONS = (F.cross_entropy, F.nll_loss)


def mean_and_each(
    criterion: Callable[..., Tensor], losses: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return the mean as the criterion itself takes it, and the mean loss of each sample.

    Args:
        criterion: what gave the losses.
        losses: what it gave, shape ``(batch_size, ...)``.
        args: what it was called with.
        kwargs: what it was called with by name.

    Returns:
        The mean, a scalar, and the losses of the samples, shape ``(batch_size,)``. Classes that are ignored count in
        neither; where all are, the mean is NaN, as torch's, and a sample's loss 0.

    Example:
        >>> logits, targets = torch.zeros(2, 3), torch.tensor([0, -100])
        >>> criterion = nn.CrossEntropyLoss(reduction="none")
        >>> mean_and_each(criterion, criterion(logits, targets), (logits, targets), {})
        (tensor(1.0986), tensor([1.0986, 0.0000]))
    """
    criterion = getattr(criterion, "_orig_mod", criterion)  # of torch.compile
    if isinstance(criterion, partial):
        args, kwargs, criterion = criterion.args + args, criterion.keywords | kwargs, criterion.func
    if isinstance(criterion, nn.CTCLoss) or criterion is F.ctc_loss:
        lengths = torch.as_tensor(_argument(args, kwargs, 3, "target_lengths"), device=losses.device)
        return (losses / lengths.clamp(min=1)).mean(), losses
    targets = _class_targets(criterion, args, kwargs)
    if targets is None:
        return losses.mean(), losses.flatten(1).mean(1) if losses.ndim > 1 else losses
    return _classification(losses, *targets)


def _class_targets(criterion: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, int] | None:
    """Return the targets, the weights of the classes and the class to ignore; None if it is not of such."""
    if isinstance(criterion, nn.Module):
        if type(criterion).forward not in CLASSIFICATION:
            return None
        weight, ignored = criterion.weight, int(criterion.ignore_index)  # type: ignore[arg-type]
    elif criterion in CLASSIFICATION_FUNCTIONS:
        weight, ignored = _argument(args, kwargs, 2, "weight"), _argument(args, kwargs, 4, "ignore_index", -100)
    else:
        return None
    targets = _argument(args, kwargs, 1, "target")
    return None if targets.is_floating_point() else (targets, weight, ignored)  # probabilities have a plain mean


def _classification(losses: Tensor, targets: Tensor, weight: Tensor | None, ignored: int) -> tuple[Tensor, Tensor]:
    """Divide by the weights of the targets, as torch does, and for a sample by the number of its targets."""
    dtype = torch.promote_types(losses.dtype, torch.float32)  # sums of many pixels leave float16
    counted = targets != ignored
    weights = counted if weight is None else weight[targets.long().masked_fill(~counted, 0)] * counted
    mean = losses.sum(dtype=dtype) / weights.sum(dtype=dtype)
    if losses.ndim == 1:
        return mean.to(losses.dtype), losses
    sums, numbers = losses.flatten(1).sum(1, dtype=dtype), counted.flatten(1).sum(1)
    return mean.to(losses.dtype), (sums / numbers.clamp(min=1)).to(losses.dtype)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any = None) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)
