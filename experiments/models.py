"""The paper's networks, and the one place where inputs are normalised."""

from __future__ import annotations

from torch import Tensor, nn

from experiments.datasets.splits import Data


class Normalise(nn.Module):
    """Pixels 0..255 of any number type -> float32 in [-1, 1], as the authors do.

    Images stay uint8 in memory and become floats here: a batch at a time, on the model's device.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Keep the shape."""
        return images.float() / 127.5 - 1


def lenet5(data: Data) -> nn.Module:
    """LeNet-5 as in the authors' code: unpadded 5x5 convolutions of 6 and 16 channels, then 120 and 84 ReLU units."""
    images = data.train.inputs[:1]
    convolutions = nn.Sequential(
        Normalise(),
        nn.Conv2d(images.shape[1], 6, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
    )
    num_features = convolutions(images).shape[1]
    return nn.Sequential(
        convolutions,
        nn.Linear(num_features, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, len(data.group_names)),
    )


def two_layer(data: Data) -> nn.Module:
    """One hidden layer of 64 ReLU units, one output: the paper's network for every regression task."""
    return nn.Sequential(nn.Linear(data.train.inputs.shape[1], 64), nn.ReLU(), nn.Linear(64, 1))
