"""Long tails: classes whose sizes fall geometrically, tested on as many samples of each.

The recipe is the same for all: a small network, SGD with a cosine, and for each seed another order of the classes.
"""

from __future__ import annotations

from dataclasses import replace

from experiments.objectives import CLASSIFICATION
from experiments.settings import OURS, Setting
from experiments.tasks.augmentation import chosen_changes
from experiments.tasks.images import OUR_MIX, changed, named
from experiments.tasks.loading import classes_of
from experiments.tasks.task import Task

USUAL = f"{OURS}, as is usual"

CIFAR10_LONG_TAIL = Task(
    name="cifar10-long-tail",
    summary="CIFAR-10 at 16 x 16, from 2,000 images of a class down to 20; for another ratio --set imbalance=20",
    load=classes_of(named("cifar10")),
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
    augment=chosen_changes,
)

FASHION_MNIST_LONG_TAIL = replace(
    changed(
        CIFAR10_LONG_TAIL,
        "fashion-mnist-long-tail",
        "Fashion-MNIST, from 2,000 images of a class down to 20",
        epochs=Setting(10, OURS),
        width=Setting(12, OURS),
        image_size=Setting("none", OURS),
    ),
    load=classes_of(named("fashion-mnist")),
)

LONG_TAIL_TASKS = (CIFAR10_LONG_TAIL, FASHION_MNIST_LONG_TAIL)
