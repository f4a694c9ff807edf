"""A criterion that keeps the loss of each sample."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from learn2mix.feedback.compiled import new_handle

# By the method, for a subclass with a forward of its own (a focal loss) takes a mean of its own.
CLASSIFICATION = (nn.CrossEntropyLoss.forward, nn.NLLLoss.forward)
CLASSIFICATION_FUNCTIONS = (F.cross_entropy, F.nll_loss)


def check_criterion(criterion: Any) -> None:
    """Raise a TypeError or a ValueError for a criterion that cannot return one loss per sample."""
    if isinstance(criterion, type):
        name = criterion.__name__
        made = f'{name}(reduction="none")'
        raise TypeError(f"criterion must be a module or a function, got the class {name}; make one: {made}")
    if not callable(criterion):
        raise TypeError(f"criterion must be a module or a function, got {criterion!r}")
    # A subclass may return one per sample whatever it inherits.
    if type(criterion).__module__ == nn.CrossEntropyLoss.__module__ and criterion.reduction != "none":
        found = f"this {type(criterion).__name__} returns their {criterion.reduction}"
        raise ValueError(f'criterion must return one loss a sample, but {found}; make it with reduction="none"')


def refuse_no_vector(criterion: Any, losses: Any, args: tuple[Any, ...] = ()) -> None:
    """Raise a TypeError or a ValueError where a criterion of ``args`` did not return one loss per sample."""
    if isinstance(losses, Tensor) and losses.ndim > 0:
        _refuse_pairs(losses, args)
        return
    name = getattr(criterion, "__name__", type(criterion).__name__)
    if not isinstance(losses, Tensor):
        kind = type(losses).__name__
        raise TypeError(
            f"criterion must return a tensor, one loss a sample, but {name} returned a {kind}; give a function that "
            "picks it"
        )
    if type(criterion).__module__ == nn.CrossEntropyLoss.__module__:  # so reduction="none", as was checked
        hint = "give it a batch of samples, as of inputs[None], and not a single one"
    elif isinstance(criterion, nn.Module) and "reduction" not in signature(type(criterion)).parameters:
        hint = "let its forward return the losses from before it takes their mean"
    elif isinstance(criterion, nn.Module):
        hint = 'make it with reduction="none"'
    else:
        hint = f'give functools.partial({name}, reduction="none")'
    raise ValueError(f"criterion must return one loss a sample, but {name} returned a scalar; {hint}")


def _refuse_pairs(losses: Tensor, args: tuple[Any, ...]) -> None:
    """Raise a ValueError where each prediction was compared with the target of each sample: (n, 1) with (n,)."""
    if losses.ndim == 2 and {getattr(one, "ndim", 0) for one in args[:2]} == {1, 2} and (count := len(losses)) > 1:
        shapes = [tuple(one.shape) for one in args[:2]]
        if (count, 1) in shapes and (count,) in shapes and losses.shape[1] == count:
            raise ValueError(
                f"criterion was given the shapes {shapes[0]} and {shapes[1]}, so that each prediction was compared "
                f"with the target of each of {count} samples; squeeze(1) the one of two axes"
            )


class Transparent(nn.Module):
    """A module around a criterion, whose state has the criterion's own keys, as if it were not wrapped.

    A state that has the keys of the module, as one of version 1, loads too.
    """

    def __init__(self, criterion: Any) -> None:
        super().__init__()
        check_criterion(criterion)
        self.criterion = criterion
        self._handle = new_handle(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._handle = new_handle(self)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            criterion = vars(self).get("_modules", {}).get("criterion")
            if criterion is None:
                raise
            return getattr(criterion, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set at the criterion what only that has; here a schedule of its weight or margin would have no effect."""
        own = name.startswith("_") or name == "criterion" or hasattr(type(self), name) or name in vars(self)
        if not own and hasattr(criterion := vars(self).get("_modules", {}).get("criterion"), name):
            setattr(criterion, name, value)
        else:
            super().__setattr__(name, value)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the criterion's state, with the criterion's own keys."""
        state = super().state_dict(*args, **kwargs)
        prefix = kwargs.get("prefix", args[1] if len(args) > 1 else "")
        inner = f"{prefix}criterion."
        state.update({prefix + key.removeprefix(inner): state.pop(key) for key in list(state) if key.startswith(inner)})
        return state

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        keys = list(self.criterion.state_dict()) if isinstance(self.criterion, nn.Module) else []
        if not all(f"{prefix}criterion.{key}" in state_dict for key in keys):  # as in states of version 1
            state_dict.update(
                {f"{prefix}criterion.{k}": state_dict.pop(prefix + k) for k in keys if prefix + k in state_dict}
            )
        super()._load_from_state_dict(state_dict, prefix, *args)


class PerSampleLoss(Transparent):
    """Returns the mean of a criterion's losses and keeps the loss of each sample.

    Takes the place of the criterion it wraps. The mean is the one that the criterion itself returns with
    ``reduction="mean"``: of ``nn.CrossEntropyLoss``, ``nn.NLLLoss`` and their functions torch's own, with ``weight``,
    ``ignore_index`` and ``label_smoothing`` (NaN where every target is ignored), of ``nn.CTCLoss`` over the lengths of
    the targets, of all others the plain one, over all elements.

    Its state has the keys of the criterion, as if it were not wrapped; a state of version 1 loads too.

    Args:
        criterion: a module or function that returns one loss per sample, shape ``(batch_size,)``, or more
            (per pixel, per token), shape ``(batch_size, ...)``: made with ``reduction="none"``.

    Raises:
        ValueError: if the criterion is one of torch's that averages; when called, if it returns a scalar.
        TypeError: if the criterion is a class, or cannot be called.

    Example:
        >>> criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
        >>> criterion(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        tensor(2.)
        >>> criterion.losses
        tensor([0., 4.])
    """

    def __init__(self, criterion: nn.Module | Callable[..., Tensor]) -> None:
        super().__init__(criterion)
        self._kept = self._counted = _Kept()

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean loss, a scalar; the arguments go to the criterion."""
        losses: Tensor = self.criterion(*args, **kwargs)
        refuse_no_vector(self.criterion, losses, args)
        mean, each = mean_and_each(self.criterion, losses, args, kwargs)
        # torch.compile compiles anew where a number or a list that forward reads has changed; this reads none.
        before = self._kept
        self._kept = _Kept(each.detach(), before)
        before.before = _Kept()  # so that a loop that never takes the losses keeps two batches of them, and not all
        return mean

    @property
    def losses(self) -> Tensor | None:
        """Losses of the last batch, shape ``(batch_size,)``, detached; None before the first and once taken.

        As the criterion gives them, with its weights; of several elements their mean without those that are ignored,
        and 0 for a sample of which all are.
        """
        return self._kept.losses

    @property
    def num_calls(self) -> int:
        """Calls since the losses were taken, or since this was set to 0: 0, 1, or 2 for two or more.

        The callback sets it to 0 when a backward pass begins: an optimizer such as LBFGS makes several, of a call each.
        """
        kept, number = self._kept, 0
        while kept.losses is not None and kept is not self._counted:
            kept, number = kept.before, number + 1
        return number

    @num_calls.setter
    def num_calls(self, number: int) -> None:
        if number != 0:
            raise ValueError(f"num_calls can only be set to 0, got {number}")
        vars(self)["_counted"] = self._kept

    def take(self) -> Tensor | None:
        """Return :attr:`losses` and forget them, so that no batch is credited with another's."""
        losses = self._kept.losses
        if losses is not None:
            nothing = _Kept()
            vars(self).update(_kept=nothing, _counted=nothing)  # a module looks at what else it is told for 3 us each
        return losses


class _Kept:
    """The losses of a call and those of the call before it; before the first there is nothing, again and again."""

    def __init__(self, losses: Tensor | None = None, before: _Kept | None = None) -> None:
        self.losses = losses
        self.before: _Kept = self if before is None else before


def mean_and_each(
    criterion: Any, losses: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return the mean of the losses as the criterion itself takes it, and the mean loss of each sample.

    Classes that are ignored count in neither; where all are, the mean is NaN, as torch's, and a sample's loss 0.

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
    is_module = isinstance(criterion, nn.Module)
    of_classes = type(criterion).forward in CLASSIFICATION if is_module else criterion in CLASSIFICATION_FUNCTIONS
    targets = _argument(args, kwargs, 1, "target") if of_classes else None
    if targets is None or targets.is_floating_point():  # probabilities have a plain mean
        return losses.mean(), losses.flatten(1).mean(1) if losses.ndim > 1 else losses
    if is_module:
        weight, ignored = criterion.weight, int(criterion.ignore_index)
    else:
        weight, ignored = _argument(args, kwargs, 2, "weight"), _argument(args, kwargs, 4, "ignore_index", -100)
    # As torch does, divide by the weights of the targets, and for a sample by the number of its targets.
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
