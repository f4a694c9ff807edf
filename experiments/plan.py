"""From names to runs: which tasks, methods, seeds and settings, and what has to come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
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
    for name, own in _own_settings(method).items():
        settings[name] = replace(task.method_settings.get(name, own), kind=kind_of(name, own))
    return settings


def own_settings(method_name: str) -> set[str]:
    """The names of a method's own settings; none for a method that is not known (any more)."""
    return set(_own_settings(METHODS[method_name])) if method_name in METHODS else set()


def _own_settings(method: type[Method]) -> dict[str, Setting]:
    # What a method's prerequisite is made with matters to the method too.
    before = {} if method.prerequisite is None else _own_settings(METHODS[method.prerequisite])
    return {**before, **method.settings}


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
) -> list[Run]:
    """All runs of some tasks x some methods x the seeds ``0 .. num_seeds - 1``, but unsuitable pairs.

    Tasks are those in ``TASKS``, or data sets below ``data_root``; the method ``all`` stands for all of them; overrides
    change settings wherever a run has them; ``time_budget`` are the seconds of training of each run.

    Raises:
        UserError: if a name is unknown, no run has a setting that is to be changed, or no pair is suitable.
    """
    pairs = find_pairs(task_names, method_names, data_root)
    known = {name: kind_of(name, setting) for pair in pairs for name, setting in settings_of(*pair).items()}
    for name in [name for name in overrides if name not in known]:
        rules = "\n".join(f"  {one}: {known[one].rule}" for one in sorted(known))
        raise UserError(f"none of these runs has a setting {name!r}{did_you_mean(name, known)}; they have:\n{rules}")
    suitable = [(task, method) for task, method in pairs if method.unsuitable(task) is None]
    if not suitable:
        reasons = "\n".join(f"  {task.name} {method.name}: {method.unsuitable(task)}" for task, method in pairs)
        raise UserError(f"there is nothing to run:\n{reasons}")
    return [  # seeds before methods: methods of one seed share its data
        plan_run(task, method, seed, overrides, time_budget)
        for name in dict.fromkeys(task.name for task, _ in suitable)
        for seed in range(num_seeds)
        for task, method in suitable
        if task.name == name
    ]


def find_pairs(
    task_names: Iterable[str], method_names: Iterable[str], data_root: Path | None
) -> list[tuple[Task, type[Method]]]:
    """Tasks x methods by their names, suitable or not."""
    tasks = [find_task(name, data_root) for name in dict.fromkeys(task_names)]
    names = [name for given in method_names for name in (METHODS if given == ALL else [given])]
    methods = [find_method(name) for name in dict.fromkeys(names)]
    return [(task, method) for task in tasks for method in methods]


def plan_run(
    task: Task, method: type[Method], seed: int, overrides: Mapping[str, Any], time_budget: float | None = None
) -> Run:
    """One of the runs of a plan."""
    settings = {name: overrides.get(name, setting.value) for name, setting in settings_of(task, method).items()}
    return Run(task.name, method.name, seed, settings, time_budget)


def find_method(name: str) -> type[Method]:
    """The method of this name, or an error that lists what there is."""
    if name not in METHODS:
        known = (*METHODS, ALL)
        raise UserError(f"no method is called {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return METHODS[name]


def prerequisite_of(run: Run) -> Run | None:
    """The run whose record this one needs first, with the same seed and settings."""
    name = METHODS[run.method].prerequisite
    if name is None:
        return None
    others = own_settings(run.method) - own_settings(name)
    return replace(run, method=name, settings={key: run.settings[key] for key in run.settings if key not in others})


def with_prerequisites(runs: Iterable[Run]) -> list[Run]:
    """The runs, each after the runs that it needs first, which are added where they are not among them."""
    chains = [[*with_prerequisites(filter(None, [prerequisite_of(run)])), run] for run in runs]
    return list({str(run): run for chain in chains for run in chain}.values())
