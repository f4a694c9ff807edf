"""The paper's networks by name, and which data each of them takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from experiments.datasets.splits import Data, Split
from experiments.errors import UserError
from experiments.models.images import autoencoder, large_lenet, lenet5, mobilenet_v3_small, resnet18, small_conv
from experiments.models.linear import two_layer
from experiments.models.text import transformer
from experiments.settings import Values


@dataclass(frozen=True)
class Network:
    """How a network is made, and for what: "images", "images again" (to be reconstructed), "features" or "tokens".

    ``settings`` are those that ``make`` takes by name, where the task has them.
    """

    make: Callable[..., nn.Module]
    takes: str
    settings: tuple[str, ...] = ()


NETWORKS: dict[str, Network] = {
    "lenet5": Network(lenet5, "images"),
    "large-lenet": Network(large_lenet, "images"),
    "small-conv": Network(small_conv, "images", settings=("width",)),
    "mobilenet-v3-small": Network(mobilenet_v3_small, "images"),
    "resnet18": Network(resnet18, "images"),
    "autoencoder": Network(autoencoder, "images again"),
    "transformer": Network(transformer, "tokens"),
    "two-layer": Network(two_layer, "features"),
}


def chosen_model(data: Data, settings: Values) -> nn.Module:
    """Make the network that the setting ``model`` names.

    Raises:
        UserError: if it takes other data than these.
    """
    name = settings["model"]
    kind = _kind_of(data.train)
    if NETWORKS[name].takes != kind:
        suitable = ", ".join(other for other, network in NETWORKS.items() if network.takes == kind)
        raise UserError(f"--set model={name} is for {NETWORKS[name].takes}; these data are {kind}, for: {suitable}")
    chosen = {own: settings[own] for own in NETWORKS[name].settings if own in settings}
    return NETWORKS[name].make(data, **chosen)


def _kind_of(samples: Split) -> str:
    if samples.inputs.dtype == torch.uint8:
        return "images again" if samples.targets.ndim > 1 else "images"
    return "features" if samples.inputs.is_floating_point() else "tokens"


__all__ = ["NETWORKS", "Network", "chosen_model", "lenet5", "two_layer"]
