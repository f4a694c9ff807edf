"""Networks for rows of numbers, and a last layer that compares directions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from experiments.datasets.splits import Data


def two_layer(data: Data) -> nn.Module:
    """One hidden layer of 64 ReLU units: the paper's network for every regression task, with one output.

    Where the targets are classes it has an output for each of them instead.
    """
    num_outputs = 1 if data.train.targets.is_floating_point() else len(data.group_names)
    return nn.Sequential(nn.Linear(data.train.inputs.shape[1], 64), nn.ReLU(), nn.Linear(64, num_outputs))


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
