"""The tensors of a batch, moved to a device."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import MutableMapping
from typing import Any

import torch
from torch.utils._pytree import tree_map


def to_device(batch: Any, device: torch.device | str) -> Any:
    """Return a batch with its tensors, and what else has a method ``to`` (a BatchEncoding), on a device.

    Example:
        >>> to_device({"x": [torch.zeros(2)], "name": "cat"}, "meta")
        {'x': [tensor(..., device='meta', size=(2,))], 'name': 'cat'}
    """

    def move(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(device, non_blocking=value.is_pinned())
        if hasattr(value, "to"):
            return value.to(device)
        # Containers of a class of the user's, which may be made in any way: a copy is, and it is filled anew.
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = copy.copy(value)
            for field in dataclasses.fields(value):
                object.__setattr__(value, field.name, to_device(getattr(value, field.name), device))  # also frozen ones
        elif isinstance(value, MutableMapping):
            value = copy.copy(value)
            value.update({key: to_device(part, device) for key, part in value.items()})
        elif isinstance(value, list):
            value = copy.copy(value)
            value[:] = [to_device(part, device) for part in value]
        return value

    return tree_map(move, batch, is_leaf=lambda value: hasattr(value, "to"))
