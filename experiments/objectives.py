"""What a task is trained for and judged by: both one number a sample, so that groups can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from experiments.lazily import F, torch


@dataclass(frozen=True)
class Objective:
    """A per-sample loss to train with and a per-sample error to judge by, ``(outputs, targets) -> (batch,)``.

    The tables show the mean error times ``error_scale``, in the unit that ``error_name`` ends with; lower is better.
    """

    kind: Literal["classification", "regression", "reconstruction"]
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    errors: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    error_name: str
    error_scale: float = 1.0


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.squeeze(1) - targets).square()


def _pixel_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared error summed over an image's pixels, as the paper counts it; uint8 pixels are taken as 0..1."""
    pixels = targets if targets.is_floating_point() else targets.float() / 255
    return (outputs - pixels).square().flatten(1).sum(dim=1)


CLASSIFICATION = Objective(
    "classification",
    lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
    lambda outputs, targets: (outputs.argmax(dim=1) != targets).float(),
    "test error, %",
    error_scale=100.0,
)
REGRESSION = Objective("regression", _squared_error, _squared_error, "test MSE")
RECONSTRUCTION = Objective("reconstruction", _pixel_error, _pixel_error, "test MSE, summed over pixels")
