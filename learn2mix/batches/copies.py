"""Copies of samples that are kept, for functions of the user that write to what they are given."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

PLAIN = {type(None), bool, int, float, complex, str, bytes}  # nobody can write to them


def copy_of(value: Any) -> Any:
    """Return a sample whose containers, dataclasses, arrays and tensors are new; what else it holds is the same.

    Example:
        >>> sample = {"x": [1, 2], "name": "a"}
        >>> copy_of(sample)["x"].append(3)
        >>> sample
        {'x': [1, 2], 'name': 'a'}
    """
    of: Any = type(value)
    if of in PLAIN:
        return value
    if of is dict:
        return {name: copy_of(part) for name, part in value.items()}
    if of is list:  # a long one of numbers, such as tokens, costs little
        return value[:] if PLAIN.issuperset(map(type, value)) else [copy_of(part) for part in value]
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, tuple):
        parts = map(copy_of, value)
        return of(*parts) if hasattr(of, "_fields") else of(parts)
    if isinstance(value, (np.ndarray, list, set, bytearray, deque)):
        return copy.copy(value)
    if isinstance(value, MutableMapping):
        mapping = copy.copy(value)
        mapping.update({name: copy_of(part) for name, part in value.items()})
        return mapping
    if is_dataclass(value):
        copied: Any = copy.copy(value)
        for field in fields(value):
            object.__setattr__(copied, field.name, copy_of(getattr(value, field.name)))
        return copied
    return value
