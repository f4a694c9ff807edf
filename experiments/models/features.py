"""Networks for rows of numbers."""

from __future__ import annotations

from torch import nn

from experiments.datasets.splits import Data


def two_layer(data: Data) -> nn.Module:
    """One hidden layer of 64 ReLU units: the paper's network for every regression task, with one output.

    Where the targets are classes it has an output for each of them instead.
    """
    num_outputs = 1 if data.train.targets.is_floating_point() else len(data.group_names)
    return nn.Sequential(nn.Linear(data.train.inputs.shape[1], 64), nn.ReLU(), nn.Linear(64, num_outputs))
