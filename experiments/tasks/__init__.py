"""All tasks by name. To add one, write a ``Task`` and list it here; a data set in npz files needs neither."""

from __future__ import annotations

from pathlib import Path

from experiments.datasets.npz import has_features, has_npz, npz_layout
from experiments.errors import UserError
from experiments.tasks.generic import generic
from experiments.tasks.images import IMAGE_TASKS, MNIST_5K
from experiments.tasks.long_tail import LONG_TAIL_TASKS
from experiments.tasks.reconstruction import RECONSTRUCTION_TASKS
from experiments.tasks.regression import REGRESSION_TASKS
from experiments.tasks.task import Task
from experiments.tasks.text import IMDB

TASKS: dict[str, Task] = {
    task.name: task
    for task in (MNIST_5K, *IMAGE_TASKS, *LONG_TAIL_TASKS, IMDB, *REGRESSION_TASKS, *RECONSTRUCTION_TASKS)
}


def find_task(name: str, data_root: Path | None) -> Task:
    """The task of this name, or one made of the npz files of this name.

    Args:
        name: a name in ``TASKS``, or of a folder below the data root.
        data_root: where to look for the folder; None, for reports of stored runs, takes it as given.

    Raises:
        UserError: if there is neither; it lists what there is.
    """
    if name in TASKS:
        return TASKS[name]
    if data_root is None:
        return generic(name)
    if Path(name).name == name and has_npz(data_root, name):
        return generic(name, features=has_features(data_root, name))
    expected = "\n".join(f"  {data_root}/{line}" for line in npz_layout(name or "NAME"))
    raise UserError(
        f"no task is called {name!r}; there are: {', '.join(TASKS)}\n"
        f"Data of your own make a task too, here:\n{expected}"
    )


__all__ = ["TASKS", "Task", "find_task", "generic"]
