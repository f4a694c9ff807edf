"""Onto a device: data in memory once, batches of all other data one by one."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_map

from learn2mix.data.in_memory import InMemory


def place(dataset: Any, device: torch.device | str | None, num_workers: int, pin_memory: bool) -> Any:
    """Return a data set whose batches are gathered on the device, if it is an :class:`InMemory`.

    A memory map stays in its file: it may be larger than the device.

    Raises:
        ValueError: if it was to be gathered there by workers, or into pinned memory.
    """
    device = None if device is None else torch.device(device)  # an error where it is none
    if not isinstance(dataset, InMemory):
        return dataset
    where = dataset.device if device is None or dataset.columns.mapped else device
    if where.type == "cpu":
        return dataset
    if num_workers:
        raise ValueError(
            f"num_workers must be 0 where an InMemory is on {where}, for its batches are gathered there, got "
            f"{num_workers}; for workers, leave out device= and move each batch in the loop"
        )
    if pin_memory:
        raise ValueError(f"pin_memory must be False where an InMemory is on {where}: its batches are there already")
    return dataset.to(where)


def to_device(batch: Any, device: torch.device | str) -> Any:
    """Return a batch with its tensors, and what else has a method ``to`` (a BatchEncoding), on a device."""

    def move(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(device, non_blocking=value.is_pinned())
        return value.to(device) if hasattr(value, "to") else value

    return tree_map(move, batch, is_leaf=lambda value: hasattr(value, "to"))
