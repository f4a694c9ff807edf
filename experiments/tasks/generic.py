"""Data that no code here has seen: npz files make a task, with settings to start from."""

from __future__ import annotations

from experiments.datasets.images import load_images
from experiments.objectives import CLASSIFICATION
from experiments.settings import OURS, PAPER, Setting
from experiments.tasks.loading import classes_of
from experiments.tasks.task import Task


def generic(name: str, *, features: bool = False) -> Task:
    """Classification of the images, or rows of numbers, in ``<root>/<name>/{train,test}.npz``.

    The records of its runs are understood without the data too.
    """
    return Task(
        name=name,
        summary=f"your own data in {name}/train.npz and {name}/test.npz",
        load=classes_of(lambda root, _: load_images(root, name)),
        objective=CLASSIFICATION,
        settings={
            "epochs": Setting(30, OURS),
            "batch_size": Setting(100, OURS),
            "model": Setting("two-layer" if features else "large-lenet", OURS),
            "optimizer": Setting("Adam", PAPER),
            "lr": Setting(1e-3, OURS),
            "imbalance": Setting("none", OURS),
        },
        method_settings={"mixing_rate": Setting(0.1, PAPER), "every": Setting("step", OURS)},
        inputs="features" if features else "images",
    )
