"""What methods for classifiers have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from experiments.datasets.splits import Data

if TYPE_CHECKING:
    from experiments.tasks.task import Task


def needs_classes(task: Task, what_for: str) -> str | None:
    """Why a method that ``what_for`` makes no sense on a task; None for a classification.

    Example:
        >>> from experiments.tasks import TASKS
        >>> needs_classes(TASKS["wine-quality"], "weighs by class")
        'it weighs by class, and a regression has no classes to predict'
    """
    kind = task.objective.kind
    return None if kind == "classification" else f"it {what_for}, and a {kind} has no classes to predict"


def class_proportions(data: Data) -> np.ndarray:
    """Share of each class of the training part, shape ``(num_classes,)``, float64; above 0, as the data are checked."""
    counts = torch.bincount(data.train.targets, minlength=len(data.group_names)).numpy()
    return counts / counts.sum()
