"""The networks that mixing is measured beside."""

import torch
from torch import Tensor, nn


def mlp() -> nn.Module:
    """784-64-10, about the smallest that anyone trains on MNIST."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def lenet5(channels: int = 1, size: int = 28) -> nn.Module:
    """LeNet-5 for square images, laid out so that it is fast on a CPU: channels last, pooled before the ReLU."""
    side = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    ).to(memory_format=torch.channels_last)


class Block(nn.Module):
    """Two convolutions and what goes around them."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.around = nn.Conv2d(channels, out_channels, 1, stride, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return nn.functional.relu(self.inner(inputs) + self.around(inputs))


def small_resnet(width: int = 32) -> nn.Module:
    """A residual network of 7 layers for 3x32x32 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 1, 1),
        Block(width, width, 1),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, 10),
    ).to(memory_format=torch.channels_last)
