"""What a task is trained for and judged by: both one number a sample, so that groups can be told apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

PerSample = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Objective:
    """A per-sample loss to train with and a per-sample error to judge by; lower is better for both.

    Attributes:
        losses: ``(outputs, targets) -> (batch,)``, what training minimises the mean of.
        errors: ``(outputs, targets) -> (batch,)``, what the tables show the mean of.
        error_name: the error's name with its unit, for tables and axes.
        error_scale: what the mean error is multiplied by to be in that unit.
        has_accuracy: whether 1 - error is an accuracy.
    """

    losses: PerSample
    errors: PerSample
    error_name: str
    error_scale: float
    has_accuracy: bool


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def _is_wrong(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(dim=1) != targets).float()


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.squeeze(1) - targets).square()


CLASSIFICATION = Objective(_cross_entropy, _is_wrong, "test error, %", error_scale=100.0, has_accuracy=True)
REGRESSION = Objective(_squared_error, _squared_error, "test MSE", error_scale=1.0, has_accuracy=False)
