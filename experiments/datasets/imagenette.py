"""Imagenette through torchvision: JPEG files, decoded once and kept as uint8."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import ImageFolder, Imagenette

from experiments.datasets.labelled import Labelled, Part
from experiments.datasets.splits import missing
from experiments.errors import UserError

FOLDER = "imagenette2"


@lru_cache(maxsize=1)
def load_imagenette(root: Path, image_size: int | str) -> Labelled:
    """Both parts with the images squeezed to ``image_size`` x ``image_size``, as the authors do.

    All 13,394 images at 224 x 224 take 2 GB of memory.

    Raises:
        UserError: if it is not there and cannot be downloaded, or a picture is broken; or without a size, as no two
            pictures need have the same.
    """
    if not isinstance(image_size, int):
        raise UserError(f"imagenette needs an image_size: its pictures have many, got {image_size!r}")
    try:
        known = Imagenette(root, "train", download=not (root / FOLDER).is_dir())
        folders = [ImageFolder(root / FOLDER / part) for part in ("train", "val")]
    except (OSError, RuntimeError) as error:
        layout = [f"{FOLDER}/train/n01440764/*.JPEG, and the other nine classes", f"{FOLDER}/val/..."]
        fetch = f"run this again where there is a network. It just failed: {' '.join(str(error).split())}"
        raise missing("the data set 'imagenette'", root, layout, fetch) from error
    train, test = (_decode_all(folder, image_size) for folder in folders)
    return Labelled(train, test, tuple(names[0] for names in known.classes))


def _decode_all(folder: ImageFolder, image_size: int) -> Part:
    images = np.empty((len(folder), 3, image_size, image_size), dtype=np.uint8)
    for place, (path, _) in enumerate(folder.samples):
        images[place] = _decode(path, image_size)
    return Part(images, np.array(folder.targets, dtype=np.int64))


def _decode(path: str, image_size: int) -> np.ndarray:
    """Pixels, uint8 ``(3, image_size, image_size)``; grey pictures become three equal channels."""
    try:
        with Image.open(path) as picture:
            pixels = picture.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
    except OSError as error:
        raise UserError(f"{path} cannot be read, it may be cut short: {error}; get it anew") from error
    return np.ascontiguousarray(np.asarray(pixels).transpose(2, 0, 1))
