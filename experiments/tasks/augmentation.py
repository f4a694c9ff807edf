"""Random changes to a batch of training images, anew for each batch and each image, on the batch's device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.settings import Values


def usual_changes(images: Tensor, settings: Values) -> Tensor:
    """What is usual for CIFAR; the authors rotate, recolour and erase as well, but once, before training."""
    del settings
    return flip_and_shift(images, shift=4)


def chosen_changes(images: Tensor, settings: Values) -> Tensor:
    """What the settings ``shift`` and ``flip`` say."""
    flip = settings["flip"] == "yes"
    return flip_and_shift(images, settings["shift"], flip=flip) if flip or settings["shift"] else images


def flip_and_shift(images: Tensor, shift: int, *, flip: bool = True) -> Tensor:
    """Mirror every other image and move each by up to ``shift`` pixels, black at the edges; shape and type stay."""
    count, _, height, width = images.shape
    device = images.device
    # A flip reads an image's columns from its end; a shift reads rows and columns of the padded image from elsewhere.
    columns = torch.arange(width, device=device).expand(count, width)
    if flip:
        mirrored = torch.rand(count, 1, device=device) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    columns = columns + _shifts(count, shift, device)
    rows = torch.arange(height, device=device) + _shifts(count, shift, device)
    padded = F.pad(images, [shift] * 4)
    place = torch.arange(count, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[place, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _shifts(count: int, most: int, device: torch.device) -> Tensor:
    return torch.randint(2 * most + 1, (count, 1), device=device)
