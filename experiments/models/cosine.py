"""A last layer that compares directions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CosineLayer(nn.Module):
    """Scores that are the scaled cosines between features and each class's direction.

    Args:
        linear: whose rows the directions begin with, at length 1; its bias is dropped.
        scale: what a cosine is multiplied by.
    """

    def __init__(self, linear: nn.Linear, scale: float) -> None:
        super().__init__()
        self._scale = scale
        self.weight = nn.Parameter(F.normalize(linear.weight.detach()))

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(N, d)`` -> scores ``(N, num_classes)``."""
        return self._scale * F.linear(F.normalize(features), F.normalize(self.weight))
