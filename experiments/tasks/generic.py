"""Data that no code here has seen: npz files make a task, with settings to start from."""

from __future__ import annotations

from experiments.lazily import lazily
from experiments.objectives import CLASSIFICATION
from experiments.settings import OURS, PAPER, Setting
from experiments.tasks.task import OUR_MIX, Task, labelled


def generic(name: str, *, features: bool = False) -> Task:
    """Classification of the images, or rows of numbers, in ``<root>/<name>/{train,test}.npz``.

    The records of its runs are understood without the data too.
    """
    settings = {
        "epochs": Setting(30, OURS),
        "batch_size": Setting(100, OURS),
        "model": Setting("two-layer" if features else "large-lenet", OURS),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-3, OURS),
        "momentum": Setting(0.0, OURS),
        "weight_decay": Setting(0.0, OURS),
        "schedule": Setting("constant", OURS),
        "imbalance": Setting("none", OURS),
        "class_order": Setting("data", OURS),
        "per_class": Setting("none", OURS),
    }
    if not features:
        settings |= {
            "width": Setting(16, f"{OURS}, of small-conv"),
            "image_size": Setting("none", OURS),
            "shift": Setting(0, OURS),
            "flip": Setting("no", OURS),
        }
    return Task(
        name=name,
        summary=f"your own data in {name}/train.npz and {name}/test.npz",
        load=labelled(name),
        objective=CLASSIFICATION,
        settings=settings,
        method_settings=OUR_MIX,
        inputs="features" if features else "images",
        augment=None if features else lazily("experiments.tasks.augmentation:chosen_changes"),
    )
