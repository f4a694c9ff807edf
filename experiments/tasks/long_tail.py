"""Long tails: classes whose sizes fall geometrically, tested on as many samples of each.

The recipe is the same for all: a small network, SGD with a cosine, and for each seed another order of the classes.
"""

from __future__ import annotations

from experiments.lazily import lazily
from experiments.objectives import CLASSIFICATION
from experiments.settings import OURS, Setting
from experiments.tasks.task import OUR_MIX, Task, labelled

USUAL = f"{OURS}, as is usual"

CIFAR10_LONG_TAIL = Task(
    name="cifar10-long-tail",
    summary="CIFAR-10 at 16 x 16, from 2,000 images of a class down to 20; for another ratio --set imbalance=20",
    load=labelled("cifar10"),
    objective=CLASSIFICATION,
    settings={
        "epochs": Setting(16, OURS),
        "batch_size": Setting(128, USUAL),
        "model": Setting("small-conv", OURS),
        "width": Setting(16, OURS),
        "optimizer": Setting("SGD", USUAL),
        "lr": Setting(0.1, USUAL),
        "momentum": Setting(0.9, USUAL),
        "weight_decay": Setting(5e-4, USUAL),
        "schedule": Setting("cosine", USUAL),
        "shift": Setting(2, OURS),
        "flip": Setting("yes", USUAL),
        "imbalance": Setting("long-tail:100", f"{OURS}, the usual one (Cui et al. 2019)"),
        "class_order": Setting("seed", OURS),
        "per_class": Setting(2000, OURS),
        "image_size": Setting(16, OURS),
    },
    method_settings=OUR_MIX,
    inputs="images",
    augment=lazily("experiments.tasks.augmentation:chosen_changes"),
)

FASHION_MNIST_LONG_TAIL = CIFAR10_LONG_TAIL.changed(
    "fashion-mnist-long-tail",
    "Fashion-MNIST, from 2,000 images of a class down to 20",
    labelled("fashion-mnist"),
    epochs=Setting(10, OURS),
    width=Setting(12, OURS),
    image_size=Setting("none", OURS),
)

LONG_TAIL_TASKS = (CIFAR10_LONG_TAIL, FASHION_MNIST_LONG_TAIL)
