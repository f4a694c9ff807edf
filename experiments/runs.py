"""A run is a task x a method x a seed, with settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from experiments.errors import UserError
from experiments.methods import METHODS, Method
from experiments.settings import KINDS, Setting, Values
from experiments.tasks import TASKS, Task

T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What is to be trained, in full: two equal runs give equal results."""

    task: Task
    method: Method
    seed: int
    settings: Values

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.task.name} {self.method.name} seed {self.seed}"


def settings_of(task: Task, method: Method) -> dict[str, Setting]:
    """The settings that matter to a run: the task's, and the method's own with the task's values for them."""
    own = {name: task.method_settings.get(name, setting) for name, setting in method.settings.items()}
    return {**task.settings, **own}


def plan(
    task_names: Iterable[str], method_names: Iterable[str], num_seeds: int, overrides: Mapping[str, Any]
) -> list[Run]:
    """All runs of some tasks x some methods x the seeds ``0 .. num_seeds - 1``.

    Args:
        task_names: names in ``TASKS``.
        method_names: names in ``METHODS``.
        num_seeds: how many seeds, at least 1.
        overrides: settings to change, wherever a run has them.

    Raises:
        UserError: if a name is unknown, or no run has a setting that is to be changed.
    """
    tasks = [pick_task(name) for name in dict.fromkeys(task_names)]
    methods = [pick_method(name) for name in dict.fromkeys(method_names)]
    pairs = [(task, method) for task in tasks for method in methods]
    _check_used(overrides, [settings_of(*pair) for pair in pairs])
    # Seeds before methods: methods of one seed share its data.
    return [
        Run(task, method, seed, _resolve(settings_of(task, method), overrides))
        for task in tasks
        for seed in range(num_seeds)
        for method in methods
    ]


def pick_task(name: str) -> Task:
    """The task of this name, or an error that lists what there is."""
    return _pick(TASKS, "task", name)


def pick_method(name: str) -> Method:
    """The method of this name, or an error that lists what there is."""
    return _pick(METHODS, "method", name)


def _pick(registry: Mapping[str, T], what: str, name: str) -> T:
    if name not in registry:
        raise UserError(f"no {what} is called {name!r}; there are: {', '.join(registry)}")
    return registry[name]


def _resolve(settings: Mapping[str, Setting], overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {name: overrides.get(name, setting.value) for name, setting in settings.items()}


def _check_used(overrides: Mapping[str, Any], all_settings: Sequence[Mapping[str, Setting]]) -> None:
    known = {name for settings in all_settings for name in settings}
    for name in overrides:
        if name not in known:
            choices = "\n".join(f"  {known_name}: {KINDS[known_name].rule}" for known_name in sorted(known))
            raise UserError(f"none of these runs has a setting {name!r}; they have:\n{choices}")
