"""How the weights step: the optimiser and the learning rate's schedule that the settings name."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.errors import UserError
from experiments.settings import Values


def make_optimizer(model: nn.Module, settings: Values) -> Optimizer:
    """Make the optimiser; a task without the settings ``momentum`` and ``weight_decay`` gets torch's own values.

    The momentum is Nesterov's. Weights decay where they are matrices or more: biases and norms stay as they are.

    Raises:
        UserError: if an optimiser that has no such momentum is to have one.
    """
    name, momentum = settings["optimizer"], settings.get("momentum", 0.0)
    if momentum and name != "SGD":
        raise UserError(f"--set momentum={momentum:g} is for optimizer=SGD, got optimizer={name}")
    options: dict[str, Any] = {"lr": settings["lr"]}
    if momentum:
        options |= {"momentum": momentum, "nesterov": True}
    parameters: Iterable[Any] = model.parameters()
    if "weight_decay" in settings:
        matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        parameters = [
            {"params": matrices, "weight_decay": settings["weight_decay"]},
            {"params": others, "weight_decay": 0.0},
        ]
    optimizer: Optimizer = getattr(torch.optim, name)(parameters, **options)
    return optimizer


def make_schedule(optimizer: Optimizer, settings: Values, num_steps: int) -> LambdaLR:
    r"""Make the schedule, to be stepped after each of ``num_steps`` batches; constant for a task that names none.

    "cosine" is :math:`\frac12 (1 + \cos \pi t / T)` of the rate at step ``t`` of ``T``, from 0.
    """
    if settings.get("schedule", "constant") == "cosine":
        return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / num_steps)) / 2)
    return LambdaLR(optimizer, lambda _: 1.0)
