"""Image data sets that hold all their pixels, as torchvision's, known by their structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

Transform = Callable[[Any], Any]
CHECKED = 3  # samples that are compared with the data set's own

# Transforms that need a PIL image, but do nothing more than to make it a tensor; and those that do the same to each
# image of a batch as to one.
TO_TENSOR = {"PILToTensor", "ToImage", "ToPureTensor"}
ALIKE = {"Normalize", "ConvertImageDtype", "ToDtype"}


def images_of(dataset: Any) -> tuple[Tensor, Tensor, Transform | None] | None:
    """Return the pixels of a data set of images, their labels, and its transform for batches.

    Returns:
        Pixels, shape ``(num_samples, channels, height, width)``, uint8; labels, shape ``(num_samples,)``, int64; and
        the transform, None where there is none. None where the data set holds no such arrays, its transform does not
        work on batches, or its samples turn out to be others.
    """
    pixels, targets = (getattr(dataset, name, None) for name in ("data", "targets"))
    if not isinstance(pixels, (Tensor, np.ndarray)) or not isinstance(targets, (Tensor, np.ndarray, list)):
        return None
    pixels, target_transform = torch.as_tensor(pixels), getattr(dataset, "target_transform", None)
    if pixels.dtype != torch.uint8 or pixels.ndim not in (3, 4) or not len(pixels) == len(targets) == len(dataset):
        return None
    steps = _for_batches(getattr(dataset, "transform", None))
    if steps is None:
        return None
    pixels = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2).contiguous()
    labels = torch.as_tensor(targets)
    if target_transform is not None:
        labels = default_collate([target_transform(label) for label in labels.tolist()])
    transform = in_turn(*steps)
    same = all(_is_sample(dataset[index], pixels, labels, transform, index) for index in _spread(len(pixels)))
    return (pixels, labels, transform) if same else None


def as_tensor(value: Any) -> Any:
    """Return a PIL image as a tensor of its pixels, channels first; anything else as it is."""
    if not hasattr(value, "getbands"):
        return value
    pixels = np.array(value)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def in_turn(*transforms: Transform | None) -> Transform | None:
    """Return a transform that applies several, one after the other; None for none."""
    steps = [transform for transform in transforms if transform is not None]
    return _InTurn(steps) if len(steps) > 1 else steps[0] if steps else None


class _InTurn:
    """A transform that can be sent to a worker process."""

    def __init__(self, steps: list[Transform]) -> None:
        self._steps = steps

    def __call__(self, batch: Any) -> Any:
        for step in self._steps:
            batch = step(batch)
        return batch

    def __repr__(self) -> str:
        return " -> ".join(map(repr, self._steps))


def to_float(pixels: Tensor) -> Tensor:
    """Return what torchvision's ``ToTensor`` makes of the bytes of an image: floats in [0, 1]."""
    return pixels.to(torch.get_default_dtype()).div(255)


def _for_batches(transform: Any) -> list[Transform] | None:
    """Return transforms for batches of tensors that do what one of torchvision does to an image; None if unknown."""
    name = type(transform).__name__
    if transform is None or name in TO_TENSOR:
        return []
    if not type(transform).__module__.startswith("torchvision.transforms"):
        return None
    if name == "Compose":
        steps = [_for_batches(step) for step in transform.transforms]
        return None if None in steps else [step for some in steps for step in some or []]
    if name == "ToTensor":
        return [to_float]
    if name == "ToDtype" and not isinstance(transform.dtype, torch.dtype):  # types by kinds of input
        return None
    return [transform] if name in ALIKE else None


def _spread(size: int) -> list[int]:
    return sorted({size * step // CHECKED for step in range(CHECKED)}) if size else []


def _is_sample(sample: Any, pixels: Tensor, labels: Tensor, transform: Transform | None, index: int) -> bool:
    """Whether a sample of the data set itself is the pair that the arrays hold at an index."""
    if not isinstance(sample, tuple) or len(sample) != 2:
        return False
    image, label = (default_collate([as_tensor(part)]) for part in sample)
    found = pixels[index : index + 1]
    return _equal(image, found if transform is None else transform(found)) and _equal(label, labels[index : index + 1])


def _equal(one: Any, other: Any) -> bool:
    tensors = isinstance(one, Tensor) and isinstance(other, Tensor) and one.dtype == other.dtype
    return tensors and torch.equal(one, other)
