"""From names to runs: which tasks, methods, seeds and settings."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from experiments.errors import UserError, did_you_mean
from experiments.methods import METHODS, Method
from experiments.run import Run
from experiments.settings import KINDS, Kind, Setting, kind_of
from experiments.tasks import TASKS, Task, find_task

ALL = "all"


def settings_of(task: Task, method: type[Method]) -> dict[str, Setting]:
    """The settings that matter to a run: the task's, and the method's own with the task's values for them."""
    settings = dict(task.settings)
    for name, own in method.settings.items():
        settings[name] = replace(task.method_settings.get(name, own), kind=kind_of(name, own))
    return settings


def own_settings(method_name: str) -> dict[str, Setting]:
    """A method's own settings; none for a method that is not known (any more)."""
    return dict(METHODS[method_name].settings) if method_name in METHODS else {}


def all_kinds() -> dict[str, Kind]:
    """Every setting of a task or a method, and what it takes."""
    everything = [task.settings for task in TASKS.values()] + [method.settings for method in METHODS.values()]
    return KINDS | {name: kind_of(name, setting) for settings in everything for name, setting in settings.items()}


def plan(
    task_names: Iterable[str],
    method_names: Iterable[str],
    num_seeds: int,
    overrides: Mapping[str, Any],
    *,
    time_budget: float | None = None,
    data_root: Path | None = None,
    suitable: bool = True,
) -> list[Run]:
    """All runs of some tasks x some methods x the seeds ``0 .. num_seeds - 1``, of suitable pairs or of the others.

    Tasks are those in ``TASKS``, or data sets below ``data_root``; overrides change settings wherever a run has them.
    An unknown name, a setting that no run has and nothing to run are a ``UserError``.
    """
    tasks = [find_task(name, data_root) for name in dict.fromkeys(task_names)]
    names = dict.fromkeys(name for given in method_names for name in (METHODS if given == ALL else [given]))
    for name in names:
        if name not in METHODS:
            known = (*METHODS, ALL)
            raise UserError(f"no method is called {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")
    methods = [METHODS[name] for name in names]
    pairs = list(product(tasks, methods))
    kinds = {name: kind_of(name, setting) for pair in pairs for name, setting in settings_of(*pair).items()}
    for name in overrides:
        if name not in kinds:
            rules = "\n".join(f"  {one}: {kinds[one].rule}" for one in sorted(kinds))
            raise UserError(
                f"none of these runs has a setting {name!r}{did_you_mean(name, kinds)}; they have:\n{rules}"
            )
    runs = []
    # Seeds before methods: methods of one seed share its data.
    for task, seed, method in product(tasks, range(num_seeds), methods):
        if (method.unsuitable(task) is None) == suitable:
            values = {name: overrides.get(name, setting.value) for name, setting in settings_of(task, method).items()}
            budget = {} if time_budget is None else {"time_budget": time_budget}
            runs.append(Run(task.name, method.name, seed, values | budget))
    if suitable and not runs:
        reasons = "\n".join(f"  {task.name} {method.name}: {method.unsuitable(task)}" for task, method in pairs)
        raise UserError(f"there is nothing to run:\n{reasons}")
    return runs
