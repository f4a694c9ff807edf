"""Random changes to a batch of training images, anew for each batch and each image, on the batch's device."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MARGIN = 4


def flip_and_shift(images: Tensor) -> Tensor:
    """Mirror every other image and move each by up to four pixels, black at the edges; shape and type stay.

    The authors rotate, recolour and erase as well, but once, before training. This is what is usual for CIFAR.
    """
    count, _, height, width = images.shape
    device = images.device
    # A flip reads an image's columns from its end; a shift reads rows and columns of the padded image from elsewhere.
    columns = torch.arange(width, device=device).expand(count, width)
    mirrored = torch.rand(count, 1, device=device) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns) + _shifts(count, device)
    rows = torch.arange(height, device=device) + _shifts(count, device)
    padded = F.pad(images, [MARGIN] * 4)
    place = torch.arange(count, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[place, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _shifts(count: int, device: torch.device) -> Tensor:
    return torch.randint(2 * MARGIN + 1, (count, 1), device=device)
