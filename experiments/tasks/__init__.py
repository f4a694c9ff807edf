"""All tasks by name. To add one, write a ``Task`` and list it here; a data set in npz files needs neither."""

from pathlib import Path

from experiments.errors import UserError, did_you_mean
from experiments.tasks.classification import IMAGE_TASKS, IMDB, generic
from experiments.tasks.regression import TASKS_WITHOUT_CLASSES
from experiments.tasks.task import Task

TASKS: dict[str, Task] = {task.name: task for task in (*IMAGE_TASKS, IMDB, *TASKS_WITHOUT_CLASSES)}


def find_task(name: str, data_root: Path | None) -> Task:
    """The task of this name, or one made of the npz files in the folder of this name.

    Without a data root, as for reports of stored runs, the folder is taken as given.

    Raises:
        UserError: if there is neither; it lists what there is.
    """
    if name in TASKS:
        return TASKS[name]
    if data_root is None:
        return generic(name)
    parts = [data_root / name / f"{part}.npz" for part in ("train", "test")]
    if Path(name).name == name and any(path.is_file() for path in parts):
        from experiments.datasets.npz import has_features

        return generic(name, features=has_features(data_root, name))
    raise UserError(
        f"no task is called {name!r}{did_you_mean(name, TASKS)}; there are: {', '.join(TASKS)}\n"
        f"Data of your own make a task too, here, with arrays images or features, and labels:\n"
        + "\n".join(f"  {path}" for path in parts)
    )


__all__ = ["TASKS", "Task", "find_task", "generic"]
