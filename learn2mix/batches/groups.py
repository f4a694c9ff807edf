"""From the labels of samples to the numbers of their groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["as_group_numbers"]


def as_group_numbers(labels: Any, group_names: list[Any]) -> NDArray[np.int64]:
    """Return the number of the group of each sample.

    Args:
        labels: name of each sample's group, shape ``(num_samples,)``; integers, strings or tuples. A tensor on an
            accelerator is waited for.
        group_names: one name per group.

    Raises:
        ValueError: if they are not 1-D, or one is the name of no group.

    Example:
        >>> as_group_numbers(["dog", "cat", "dog"], ["cat", "dog"])
        array([1, 0, 1])
    """
    labels = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else labels
    numbers = {name: number for number, name in enumerate(group_names)}
    if any(isinstance(name, tuple) for name in group_names):
        names, inverse = [_as_tuple(label) for label in labels], None
    else:
        array = np.asarray(labels)
        if array.ndim != 1:
            raise ValueError(f"groups must be one label per loss, 1-D, got shape {array.shape}")
        unique, inverse = np.unique(array, return_inverse=True)
        names = unique.tolist()
    unknown = [name for name in names if name not in numbers]
    if unknown:
        known = ", ".join(map(repr, group_names[:20])) + (", ..." if len(group_names) > 20 else "")
        raise ValueError(f"groups: there is no group {unknown[0]!r}; the groups are {known}")
    found = np.array([numbers[name] for name in names], dtype=np.int64)
    return found if inverse is None else found[inverse]


def _as_tuple(label: Any) -> Any:
    return tuple(label.tolist()) if isinstance(label, (np.ndarray, torch.Tensor)) else label
