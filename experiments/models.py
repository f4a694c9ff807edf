"""The paper's networks by name, which data each of them takes, and the one place where pixels are normalised."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.datasets import Data
from experiments.errors import UserError
from experiments.settings import Values


class Network(NamedTuple):
    make: Callable[..., nn.Module]
    takes: str  # images, images again (to be reconstructed), features or tokens
    settings: tuple[str, ...] = ()  # that ``make`` takes by name, where the task has them


def chosen_model(data: Data, settings: Values) -> nn.Module:
    """Make the network that the setting ``model`` names; a UserError if it takes other data than these."""
    name, inputs = settings["model"], data.train.inputs
    make, takes, own = NETWORKS[name]
    kind = "features" if inputs.is_floating_point() else "tokens"
    if inputs.dtype == torch.uint8:
        kind = "images again" if data.train.targets.ndim > 1 else "images"
    if takes != kind:
        suitable = ", ".join(other for other, network in NETWORKS.items() if network.takes == kind)
        raise UserError(f"--set model={name} is for {takes}; these data are {kind}, for: {suitable}")
    return make(data, **{key: settings[key] for key in own if key in settings})


class Normalise(nn.Module):
    """Pixels 0..255, uint8 until here, -> float32, -1..1 as the authors do for most tasks; grey to ``channels``."""

    def __init__(self, low: float = -1.0, high: float = 1.0, channels: int | None = None) -> None:
        super().__init__()
        self._low, self._scale, self._channels = low, (high - low) / 255, channels

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float() * self._scale + self._low
        return pixels if self._channels is None else pixels.expand(-1, self._channels, -1, -1)


def _pooled_relu() -> list[nn.Module]:
    """The maximum of ReLUs, as the authors have it; taken in this order, a quarter of the work for the same numbers."""
    return [nn.MaxPool2d(2), nn.ReLU()]


def _channels_last(*layers: nn.Module) -> nn.Sequential:
    """In a row, with weights that train a convolution on a CPU in a little more than half of the time."""
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def lenet5(data: Data) -> nn.Module:
    """LeNet-5 as in the authors' code: unpadded 5x5 convolutions of 6 and 16 channels, then 120 and 84 ReLU units."""
    images = data.train.inputs[:1]
    first, second = nn.Conv2d(images.shape[1], 6, kernel_size=5), nn.Conv2d(6, 16, kernel_size=5)
    convolutions = _channels_last(Normalise(), first, *_pooled_relu(), second, *_pooled_relu(), nn.Flatten())
    num_features, num_classes = convolutions(images).shape[1], len(data.group_names)
    dense = nn.Linear(num_features, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes)
    return nn.Sequential(convolutions, *dense)


def large_lenet(data: Data) -> nn.Module:
    """The authors' Large LeNet: padded 3x3 convolutions of 16, 32 and 64 channels, 500 ReLU units, half dropped out."""
    _, channels, height, width = data.train.inputs.shape
    layers: list[nn.Module] = [Normalise()]
    for inner in (16, 32, 64):
        layers += [nn.Conv2d(channels, inner, kernel_size=3, padding=1), *_pooled_relu()]
        channels = inner
    dense = nn.Linear(channels * (height // 8) * (width // 8), 500), nn.ReLU(), nn.Dropout(0.5)
    return _channels_last(*layers, nn.Flatten(), *dense, nn.Linear(500, len(data.group_names)))


def small_conv(data: Data, width: int = 16) -> nn.Module:
    """Three padded 3x3 convolutions, with batch norm, ReLU and pooling between; each channel's mean is classified."""
    channels = data.train.inputs.shape[1]
    layers: list[nn.Module] = [Normalise()]
    for inner in (width, 2 * width, 4 * width):
        if len(layers) > 1:
            layers.append(nn.MaxPool2d(2))
        convolution = nn.Conv2d(channels, inner, kernel_size=3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(inner), nn.ReLU()]
        channels = inner
    return _channels_last(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(data.group_names)))


def from_torchvision(data: Data, name: str) -> nn.Module:
    """A network of torchvision's from random weights, for images of any size; grey ones are three equal channels.

    The authors' code starts MobileNetV3-Small from ImageNet's weights and enlarges CIFAR to 224 x 224; we do neither.
    """
    network = torchvision.models.get_model(name, weights=None, num_classes=len(data.group_names))
    return nn.Sequential(Normalise(channels=3), network)


def autoencoder(data: Data) -> nn.Module:
    """The paper's d-128-32-128-d with ReLU between and a sigmoid at the end: images in, pixels from 0 to 1 out."""
    shape = data.train.inputs.shape[1:]
    num_pixels = math.prod(shape)
    encoder = nn.Linear(num_pixels, 128), nn.ReLU(), nn.Linear(128, 32)
    decoder = nn.Linear(32, 128), nn.ReLU(), nn.Linear(128, num_pixels), nn.Sigmoid(), nn.Unflatten(1, shape)
    return nn.Sequential(Normalise(low=0.0, high=1.0), nn.Flatten(), *encoder, *decoder)


def two_layer(data: Data) -> nn.Module:
    """The paper's network for regressions: 64 ReLU units and one output; where there are classes, one for each."""
    num_outputs = 1 if data.train.targets.is_floating_point() else len(data.group_names)
    return nn.Sequential(nn.Linear(data.train.inputs.shape[1], 64), nn.ReLU(), nn.Linear(64, num_outputs))


class CosineLayer(nn.Module):
    """Features ``(N, d)`` -> scaled cosines with each class's direction ``(N, num_classes)``, at first a row."""

    def __init__(self, linear: nn.Linear, scale: float) -> None:
        super().__init__()
        self._scale = scale
        self.weight = nn.Parameter(F.normalize(linear.weight.detach()))

    def forward(self, features: Tensor) -> Tensor:
        return self._scale * F.linear(F.normalize(features), F.normalize(self.weight))


class Transformer(nn.Module):
    """The paper's text classifier: one encoder layer, averaged over the tokens that are no padding, then 64-32-K.

    The authors' code attends to padding and averages over it, so that a text's scores hang on how far it was filled up.
    """

    def __init__(self, vocabulary_size: int, max_tokens: int, num_classes: int, *, width: int = 64) -> None:
        super().__init__()
        self._embedding = nn.Embedding(vocabulary_size, width, padding_idx=0)
        self._layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=128, dropout=0.1, batch_first=True)
        self._head = nn.Sequential(nn.Dropout(0.1), nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, num_classes))
        self._positions: Tensor
        self.register_buffer("_positions", sinusoids(max_tokens, width), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids ``(N, L)`` with 0 for padding -> scores ``(N, num_classes)``."""
        padding = tokens == 0
        padding[:, 0] = False  # attention over nothing at all would be NaN: a text without tokens is one of padding
        embedded = self._embedding(tokens) + self._positions[: tokens.shape[1]]
        present = (~padding).unsqueeze(2)
        summed = (self._layer(embedded, src_key_padding_mask=padding) * present).sum(dim=1)
        scores: Tensor = self._head(summed / present.sum(dim=1))
        return scores


def sinusoids(num_positions: int, width: int) -> Tensor:
    """Vaswani et al.'s positions, shape ``(num_positions, width)``: sines in even columns, cosines in odd ones."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(num_positions).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def transformer(data: Data) -> nn.Module:
    vocabulary_size = 1 + int(max(data.train.inputs.max(), data.test.inputs.max()))
    return Transformer(vocabulary_size, data.train.inputs.shape[1], len(data.group_names))


NETWORKS = {
    "lenet5": Network(lenet5, "images"),
    "large-lenet": Network(large_lenet, "images"),
    "small-conv": Network(small_conv, "images", settings=("width",)),
    "mobilenet-v3-small": Network(partial(from_torchvision, name="mobilenet_v3_small"), "images"),
    "resnet18": Network(partial(from_torchvision, name="resnet18"), "images"),
    "autoencoder": Network(autoencoder, "images again"),
    "transformer": Network(transformer, "tokens"),
    "two-layer": Network(two_layer, "features"),
}
