"""What a task is trained for and judged by: both one number a sample, so that groups can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["classification", "regression", "reconstruction"]


@dataclass(frozen=True)
class Objective:
    """A per-sample loss to train with and a per-sample error to judge by; lower is better for both.

    Attributes:
        kind: what the network's outputs are: scores a class, one value, or an image.
        losses: ``(outputs, targets) -> (batch,)``, what training minimises the mean of.
        errors: ``(outputs, targets) -> (batch,)``, what the tables show the mean of.
        error_name: the error's name with its unit, for tables and axes.
        error_scale: what the mean error is multiplied by to be in that unit.
    """

    kind: Kind
    losses: Callable[[Tensor, Tensor], Tensor]
    errors: Callable[[Tensor, Tensor], Tensor]
    error_name: str
    error_scale: float

    @property
    def has_accuracy(self) -> bool:
        """Whether 1 - error is an accuracy."""
        return self.kind == "classification"


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    from torch.nn.functional import cross_entropy

    return cross_entropy(outputs, targets, reduction="none")


def _is_wrong(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(dim=1) != targets).float()


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.squeeze(1) - targets).square()


def _pixel_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Squared error summed over an image's pixels, as the paper counts it; uint8 pixels are taken as 0..1."""
    pixels = targets if targets.is_floating_point() else targets.float() / 255
    return (outputs - pixels).square().flatten(1).sum(dim=1)


CLASSIFICATION = Objective("classification", _cross_entropy, _is_wrong, "test error, %", error_scale=100.0)
REGRESSION = Objective("regression", _squared_error, _squared_error, "test MSE", error_scale=1.0)
RECONSTRUCTION = Objective(
    "reconstruction", _pixel_error, _pixel_error, "test MSE, summed over pixels", error_scale=1.0
)
