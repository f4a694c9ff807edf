"""Torchvision's own data sets, in the layout that it keeps on disk; downloaded where there is a network."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torchvision import datasets
from torchvision.datasets import mnist
from torchvision.datasets.utils import check_integrity

from experiments.datasets.labelled import Labelled, Part
from experiments.datasets.npz import npz_layout
from experiments.datasets.splits import missing
from experiments.errors import UserError

Digits = type[datasets.MNIST]
Colors = type[datasets.CIFAR10]

DIGITS: dict[str, Digits] = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}
COLORS: dict[str, Colors] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}


def load_vision(root: Path, name: str) -> Labelled:
    """Read a data set that torchvision knows; its download shows a progress bar and checks the files' md5.

    Raises:
        UserError: if it is not there and cannot be downloaded, or a file is broken.
    """
    source = DIGITS[name] if name in DIGITS else COLORS[name]
    broken = list(_cut_files(root, source))
    if broken:
        raise UserError(f"{broken[0]} cannot be read, it may be cut short; delete it and get it anew")
    try:
        train, test = (source(str(root), train=is_train, download=True) for is_train in (True, False))
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        fetch = (
            "run this again where there is a network, or copy the files into either layout. "
            f"The download just failed: {' '.join(str(error).split())}"
        )
        raise missing(f"the data set {name!r}", root, [*npz_layout(name), *_layout(source)], fetch) from error
    # MNIST's are called "0 - zero".
    names = tuple(class_name.partition(" - ")[0] for class_name in train.classes)
    return Labelled(_part(train), _part(test), names)


def _part(dataset: datasets.MNIST | datasets.CIFAR10) -> Part:
    images = np.asarray(dataset.data)
    channels_first = images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    return Part(channels_first, np.asarray(dataset.targets, dtype=np.int64))


def _files(source: Digits | Colors) -> list[tuple[str, str | None]]:
    """Each file's place below the root, with its md5 where torchvision knows it."""
    if issubclass(source, datasets.MNIST):
        return [(f"{source.__name__}/raw/{Path(url).stem}", None) for url, _ in source.resources]
    return [(f"{source.base_folder}/{name}", md5) for name, md5 in source.train_list + source.test_list]


def _cut_files(root: Path, source: Digits | Colors) -> Iterator[Path]:
    """The files that are there but not whole; torchvision would download them again or fail without naming them."""
    for name, md5 in _files(source):
        path = root / name
        if path.is_file() and not (_is_whole_idx(path) if md5 is None else check_integrity(path, md5)):
            yield path


def _is_whole_idx(path: Path) -> bool:
    try:
        mnist.read_sn3_pascalvincent_tensor(str(path))
    except (ValueError, RuntimeError, AssertionError, KeyError, IndexError):
        return False
    return True


def _layout(source: Digits | Colors) -> list[str]:
    first, _ = _files(source)[0]
    return [f"{first} and torchvision's other files of {source.__name__}"]
