"""All tasks by name. To add one, write a ``Task`` and list it here."""

from experiments.tasks.images import MNIST, MNIST_5K, MNIST_IMBALANCED
from experiments.tasks.regression import MEAN_ESTIMATION, WINE_QUALITY
from experiments.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task for task in (MNIST_5K, MEAN_ESTIMATION, MNIST, MNIST_IMBALANCED, WINE_QUALITY)
}

__all__ = ["TASKS", "Task"]
