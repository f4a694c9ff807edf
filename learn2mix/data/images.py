"""Image data sets that hold all their pixels, as torchvision's, known by their structure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
    steps = _for_batches(getattr(dataset, "transform", None))
    pixels, labels = _pixels(getattr(dataset, "data", None)), _labels(getattr(dataset, "targets", None))
    if steps is None or pixels is None or labels is None or not len(pixels) == len(labels) == len(dataset):
        return None
    target_transform, transform = getattr(dataset, "target_transform", None), in_turn(*steps)
    if target_transform is not None:
        labels = default_collate([target_transform(label) for label in labels.tolist()])
    return (pixels, labels, transform) if _are_samples(dataset, pixels, labels, transform) else None


def as_tensor(value: Any) -> Any:
    """Return a PIL image as a tensor of its pixels, channels first; anything else as it is."""
    if not hasattr(value, "getbands"):
        return value
    pixels = np.array(value)
    return torch.from_numpy(pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def in_turn(*transforms: Transform | None) -> Transform | None:
    """Return a transform that applies several, one after the other; None for none."""
    steps = [transform for transform in transforms if transform is not None]
    return partial(_apply_each, steps) if len(steps) > 1 else steps[0] if steps else None


def _apply_each(transforms: list[Transform], batch: Any) -> Any:
    for transform in transforms:
        batch = transform(batch)
    return batch


def to_float(pixels: Tensor) -> Tensor:
    """Return what torchvision's ``ToTensor`` makes of the bytes of an image: floats in [0, 1]."""
    return pixels.to(torch.get_default_dtype()).div(255)


def _for_batches(transform: Any) -> list[Transform] | None:
    """Return transforms for batches of tensors that do what one of torchvision does to an image; None if unknown."""
    name = type(transform).__name__
    if transform is None:
        return []
    if not type(transform).__module__.startswith("torchvision.transforms"):
        return None
    if name in TO_TENSOR:
        return []
    if name == "Compose":
        steps = [_for_batches(step) for step in transform.transforms]
        return None if None in steps else [step for some in steps for step in some or []]
    if name == "ToTensor":
        return [to_float]
    if name == "ToDtype" and not isinstance(transform.dtype, torch.dtype):  # types by kinds of input
        return None
    return [transform] if name in ALIKE else None


def _pixels(data: Any) -> Tensor | None:
    """Return gray or coloured images as they are held by torchvision's data sets, channels first."""
    if not isinstance(data, (Tensor, np.ndarray)) or data.ndim not in (3, 4) or "uint8" not in str(data.dtype):
        return None
    if isinstance(data, np.ndarray):
        data = torch.from_numpy(data if data.flags.writeable else data.copy())
    pixels: Tensor = data[:, None] if data.ndim == 3 else data.permute(0, 3, 1, 2).contiguous()
    return pixels


def _labels(targets: Any) -> Tensor | None:
    if isinstance(targets, Tensor):
        return targets
    whole = isinstance(targets, (np.ndarray, list)) and np.asarray(targets).dtype.kind == "i"
    return torch.tensor(targets) if whole else None


def _are_samples(dataset: Any, pixels: Tensor, labels: Any, transform: Transform | None) -> bool:
    """Whether some samples that the data set itself gives are those that the arrays hold."""
    places = sorted({len(pixels) * step // CHECKED for step in range(CHECKED)}) if len(pixels) else []
    if not places or not isinstance(labels, Tensor):
        return False
    try:
        given = default_collate([tuple(map(as_tensor, dataset[place])) for place in places])
        held = [pixels[places] if transform is None else transform(pixels[places]), labels[places]]
        return all(one.dtype == other.dtype and torch.equal(one, other) for one, other in zip(given, held, strict=True))
    except Exception:  # whatever it is, it shows where the samples are read one by one
        return False
