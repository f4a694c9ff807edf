"""What a task is trained for and judged by: both one number a sample, so that groups can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from experiments.libraries import F, torch


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

    kind: Literal["classification", "regression", "reconstruction"]
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    errors: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    error_name: str
    error_scale: float = 1.0

    @property
    def has_accuracy(self) -> bool:
        """Whether 1 - error is an accuracy."""
        return self.kind == "classification"


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.squeeze(1) - targets).square()


def _pixel_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared error summed over an image's pixels, as the paper counts it; uint8 pixels are taken as 0..1."""
    pixels = targets if targets.is_floating_point() else targets.float() / 255
    return (outputs - pixels).square().flatten(1).sum(dim=1)


CLASSIFICATION = Objective(
    "classification",
    losses=lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
    errors=lambda outputs, targets: (outputs.argmax(dim=1) != targets).float(),
    error_name="test error, %",
    error_scale=100.0,
)
REGRESSION = Objective("regression", _squared_error, _squared_error, "test MSE")
RECONSTRUCTION = Objective("reconstruction", _pixel_error, _pixel_error, "test MSE, summed over pixels")
