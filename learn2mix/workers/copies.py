"""Copies of samples that are kept, for functions of the user that write to what they are given; what samples share."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping, MutableMapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

PLAIN = {type(None), bool, int, float, complex, str, bytes}  # nobody can write to them


def share_memory(one: Any, other: Any) -> bool:
    """Whether two samples are, or hold at the same place, the same container, array or tensor.

    Example:
        >>> image, label = np.zeros(3), 5
        >>> share_memory({"image": image, "label": label}, {"image": image[:2], "label": 7})
        True
        >>> share_memory((image, label), (image.copy(), label))
        False
    """
    pairs = [(one, other)]
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        pairs += [(part, other[name]) for name, part in one.items() if name in other]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        pairs += zip(one, other, strict=False)
    return any(_share_memory(*pair) for pair in pairs)


def _share_memory(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.may_share_memory(one, other)
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.data_ptr() == other.data_ptr()
    return one is other and isinstance(one, (MutableMapping, list, bytearray))


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
