"""Reconstruction of images through 32 numbers; the groups are the images' classes."""

from __future__ import annotations

from dataclasses import replace

from experiments.objectives import RECONSTRUCTION
from experiments.settings import CODE, PAPER, Setting
from experiments.tasks.images import PAPERS_MIX, changed, named
from experiments.tasks.loading import images_again
from experiments.tasks.task import Task

# All but deer and dogs.
CIFAR10_RARE = (0, 1, 2, 3, 6, 7, 8, 9)

MNIST_RECONSTRUCTION = Task(
    name="mnist-reconstruction",
    summary="MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
    load=images_again(named("mnist")),
    objective=RECONSTRUCTION,
    settings={
        "epochs": Setting(40, PAPER),
        "batch_size": Setting(1000, PAPER),
        "model": Setting("autoencoder", PAPER),
        "optimizer": Setting("AdamW", PAPER),
        "lr": Setting(5e-4, PAPER),
        "imbalance": Setting("step:0.2", PAPER),
    },
    method_settings=PAPERS_MIX,
    inputs="images",
)

FASHION_MNIST_RECONSTRUCTION = replace(
    changed(
        MNIST_RECONSTRUCTION,
        "fashion-mnist-reconstruction",
        "Fashion-MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
        epochs=Setting(70, PAPER),
        optimizer=Setting("Adam", PAPER),
        lr=Setting(1e-5, PAPER),
    ),
    load=images_again(named("fashion-mnist")),
)

CIFAR10_RECONSTRUCTION = replace(
    changed(
        FASHION_MNIST_RECONSTRUCTION,
        "cifar10-reconstruction",
        "CIFAR-10 through 32 numbers and back, all classes but deer and dog cut to 10 %",
        epochs=Setting(110, PAPER),
        imbalance=Setting("step:0.1", f"{PAPER}, {CODE}"),
    ),
    load=images_again(named("cifar10"), rare=CIFAR10_RARE),
)

RECONSTRUCTION_TASKS = (MNIST_RECONSTRUCTION, FASHION_MNIST_RECONSTRUCTION, CIFAR10_RECONSTRUCTION)
