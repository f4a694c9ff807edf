"""Networks for images, and the one place where pixels are normalised."""

from __future__ import annotations

import math
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from experiments.datasets.splits import Data


class Normalise(nn.Module):
    """Pixels 0..255 of any number type -> float32 from ``low`` to ``high``: -1..1 as the authors do for most tasks.

    Images stay uint8 in memory and become floats here: a batch at a time, on the model's device.
    """

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        super().__init__()
        self._low = low
        self._scale = (high - low) / 255

    def forward(self, images: Tensor) -> Tensor:
        """Keep the shape."""
        return images.float() * self._scale + self._low


def _pooled_relu() -> list[nn.Module]:
    """The maximum of ReLUs, as the authors have it; taken in this order, a quarter of the work for the same numbers."""
    return [nn.MaxPool2d(2), nn.ReLU()]


def lenet5(data: Data) -> nn.Module:
    """LeNet-5 as in the authors' code: unpadded 5x5 convolutions of 6 and 16 channels, then 120 and 84 ReLU units.

    With its channels last in memory it trains in a little more than half of the time on a CPU.
    """
    images = data.train.inputs[:1]
    convolutions = nn.Sequential(
        Normalise(),
        nn.Conv2d(images.shape[1], 6, kernel_size=5),
        *_pooled_relu(),
        nn.Conv2d(6, 16, kernel_size=5),
        *_pooled_relu(),
        nn.Flatten(),
    ).to(memory_format=torch.channels_last)
    num_features = convolutions(images).shape[1]
    return nn.Sequential(
        convolutions,
        nn.Linear(num_features, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, len(data.group_names)),
    )


def large_lenet(data: Data) -> nn.Module:
    """The authors' Large LeNet: padded 3x3 convolutions of 16, 32 and 64 channels, 500 ReLU units, half dropped out."""
    _, channels, height, width = data.train.inputs.shape
    layers: list[nn.Module] = [Normalise()]
    for inner in (16, 32, 64):
        layers += [nn.Conv2d(channels, inner, kernel_size=3, padding=1), *_pooled_relu()]
        channels = inner
    num_features = channels * (height // 8) * (width // 8)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(num_features, 500),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(500, len(data.group_names)),
    ).to(memory_format=torch.channels_last)


def small_conv(data: Data, width: int = 16) -> nn.Module:
    """Three padded 3x3 convolutions of ``width``, twice and four times as many channels, each with batch norm and ReLU.

    Pooling halves the image between them, then each channel's mean goes into a linear layer.
    """
    channels = data.train.inputs.shape[1]
    layers: list[nn.Module] = [Normalise()]
    for place, inner in enumerate((width, 2 * width, 4 * width)):
        convolution = nn.Conv2d(channels, inner, kernel_size=3, padding=1, bias=False)
        layers += [*([nn.MaxPool2d(2)] if place else []), convolution, nn.BatchNorm2d(inner), nn.ReLU()]
        channels = inner
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(data.group_names))).to(
        memory_format=torch.channels_last
    )


def mobilenet_v3_small(data: Data) -> nn.Module:
    """Torchvision's MobileNetV3-Small from random weights, on images of any size.

    The authors' code starts from ImageNet's weights and enlarges the images of CIFAR to 224 x 224; we do neither.
    """
    network = torchvision.models.mobilenet_v3_small(weights=None, num_classes=len(data.group_names))
    network.features[0][0] = _for_channels(network.features[0][0], data.train.inputs.shape[1])
    return nn.Sequential(Normalise(), network)


def resnet18(data: Data) -> nn.Module:
    """Torchvision's ResNet-18 from random weights, as the authors do."""
    network = torchvision.models.resnet18(weights=None, num_classes=len(data.group_names))
    network.conv1 = _for_channels(network.conv1, data.train.inputs.shape[1])
    return nn.Sequential(Normalise(), network)


def _for_channels(first: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A network's first layer, made anew if the images have another number of channels than it takes."""
    if first.in_channels == channels:
        return first
    # Torch's stubs know a convolution's sizes as tuples of any length.
    sizes: Any = {"kernel_size": first.kernel_size, "stride": first.stride, "padding": first.padding}
    return nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **sizes)


def autoencoder(data: Data) -> nn.Module:
    """The paper's d-128-32-128-d with ReLU between and a sigmoid at the end: images in, pixels from 0 to 1 out."""
    shape = data.train.inputs.shape[1:]
    num_pixels = math.prod(shape)
    return nn.Sequential(
        Normalise(low=0.0, high=1.0),
        nn.Flatten(),
        nn.Linear(num_pixels, 128),
        nn.ReLU(),
        nn.Linear(128, 32),
        nn.Linear(32, 128),
        nn.ReLU(),
        nn.Linear(128, num_pixels),
        nn.Sigmoid(),
        nn.Unflatten(1, shape),
    )
