"""Reconstruction of images through 32 numbers; the groups are the images' classes."""

from __future__ import annotations

from experiments.objectives import RECONSTRUCTION
from experiments.settings import CODE, PAPER, Setting
from experiments.tasks.task import H200, PAPERS_MIX, Expected, Task, labelled

# All but deer and dogs.
CIFAR10_RARE = (0, 1, 2, 3, 6, 7, 8, 9)

MNIST_RECONSTRUCTION = Task(
    name="mnist-reconstruction",
    summary="MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
    load=labelled("mnist", again=True),
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
    expected=Expected(H200, seconds=4.53, classical=12.1, learn2mix=11.3),
)

FASHION_MNIST_RECONSTRUCTION = MNIST_RECONSTRUCTION.changed(
    "fashion-mnist-reconstruction",
    "Fashion-MNIST through 32 numbers and back, classes 5-9 cut to 20 %",
    labelled("fashion-mnist", again=True),
    Expected(H200, seconds=7.44, classical=50.1, learn2mix=44.9),
    epochs=Setting(70, PAPER),
    optimizer=Setting("Adam", PAPER),
    lr=Setting(1e-5, PAPER),
)

CIFAR10_RECONSTRUCTION = FASHION_MNIST_RECONSTRUCTION.changed(
    "cifar10-reconstruction",
    "CIFAR-10 through 32 numbers and back, all classes but deer and dog cut to 10 %",
    labelled("cifar10", rare=CIFAR10_RARE, again=True),
    epochs=Setting(110, PAPER),
    imbalance=Setting("step:0.1", f"{PAPER}, {CODE}"),
)

RECONSTRUCTION_TASKS = (MNIST_RECONSTRUCTION, FASHION_MNIST_RECONSTRUCTION, CIFAR10_RECONSTRUCTION)
