"""A criterion that keeps the loss of each sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

__all__ = ["PerSampleLoss"]


class PerSampleLoss(nn.Module):
    """Returns the mean of a criterion's losses and keeps the loss of each sample.

    Takes the place of the criterion it wraps, and asks nothing else of the training step. The mean is the plain one,
    over all elements: with the ``weight`` or ``ignore_index`` of ``nn.CrossEntropyLoss`` torch's own mean divides by
    the weights of the targets, or by the number that is not ignored, and differs.

    Args:
        criterion: a module or function that returns one loss a sample, shape ``(batch_size,)``, or more than one
            (a pixel, a token), shape ``(batch_size, ...)``: made with ``reduction="none"``.

    Attributes:
        num_calls: how often it was called since the losses were taken, or a backward pass began under Lightning.

    Raises:
        ValueError: when called, if the criterion returns a scalar.

    Example:
        >>> criterion = PerSampleLoss(nn.MSELoss(reduction="none"))
        >>> criterion(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        tensor(2.)
        >>> criterion.losses
        tensor([0., 4.])
    """

    def __init__(self, criterion: nn.Module | Callable[..., Tensor]) -> None:
        super().__init__()
        self.criterion = criterion
        self.num_calls = 0
        self._losses: Tensor | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the mean loss, a scalar; the arguments go to the criterion."""
        losses: Tensor = self.criterion(*args, **kwargs)
        if losses.ndim == 0:
            name = type(self.criterion).__name__
            raise ValueError(
                f'criterion must return one loss a sample, but {name} returned a scalar; make it with reduction="none"'
            )
        self.num_calls += 1
        self._losses = losses.detach().flatten(1).mean(1) if losses.ndim > 1 else losses.detach()
        return losses.mean()

    @property
    def losses(self) -> Tensor | None:
        """Losses of the last batch, shape ``(batch_size,)``, detached; None before the first and once taken."""
        return self._losses

    def take(self) -> Tensor | None:
        """Return :attr:`losses` and forget them, so that no batch is credited with another's."""
        losses, self._losses, self.num_calls = self._losses, None, 0
        return losses
