"""Arrays in all the forms in which users have them, and what a plain loop makes a batch of them."""

from typing import Any

import numpy as np
import torch

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [17, 9, 4]))
PIXELS = np.random.default_rng(1).integers(0, 256, (30, 2, 3), dtype=np.uint8)
FORMS = ["tensor", "array", "read-only", "backwards", "map", "writable map", "part of a map"]


def as_form(array: np.ndarray, form: str, folder: Any) -> Any:
    """The same values as a tensor, an array that torch shares or does not, or in a file."""
    if form == "tensor":
        return torch.tensor(array)
    if form == "backwards":
        return np.ascontiguousarray(array[::-1])[::-1]
    if "map" in form:
        before = 5 if form == "part of a map" else 0
        path = folder / f"{array.dtype}-{form}.npy"
        np.save(path, np.concatenate([array[:before], array]))
        return np.load(path, mmap_mode="r+" if "writable" in form else "r")[before:]
    values = array.copy()
    values.flags.writeable = form != "read-only"
    return values


class Halved:
    """A transform that a worker can be sent."""

    def __call__(self, batch: Any) -> Any:
        if isinstance(batch, dict):
            return {**batch, "pixels": batch["pixels"] / 2}
        return batch / 2


def batch_of(indices: Any, *, halved: bool) -> list[np.ndarray]:
    """What the batch at some indices is, sample by sample."""
    pixels = np.stack([PIXELS[index] for index in indices])
    return [pixels.astype(np.float32) / 2 if halved else pixels, np.array([LABELS[index] for index in indices])]


def is_batch(found: Any, wanted: list[np.ndarray]) -> bool:
    """Whether tensors are equal to arrays, bit for bit and in type."""
    found = [found["pixels"], found["labels"]] if isinstance(found, dict) else found
    return len(found) == len(wanted) and all(
        isinstance(one, torch.Tensor) and torch.equal(one, other) and one.dtype == other.dtype
        for one, other in zip(found, map(torch.from_numpy, wanted), strict=True)
    )
