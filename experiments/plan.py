"""From names to runs: which tasks, methods, seeds and settings, and what has to come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path
from typing import Any

from experiments.errors import UserError, did_you_mean
from experiments.methods import METHODS, Method
from experiments.run import Run, Unsuitable
from experiments.settings import KINDS, Kind, Setting, kind_of
from experiments.tasks import TASKS, Task, find_task

ALL = "all"

# Learn2mix against its baselines, on real digits and on the paper's synthetic task, without any files.
DEMO = {
    "mnist-5k": ("learn2mix", "classical", "balanced", "fading"),
    "mean-estimation": ("learn2mix", "classical"),
}

Pair = tuple[Task, type[Method]]


def settings_of(task: Task, method: type[Method]) -> dict[str, Setting]:
    """The settings that matter to a run: the task's, and the method's own with the task's values for them."""
    given = task.method_settings
    own = {
        name: replace(given.get(name, setting), kind=kind_of(name, setting))
        for name, setting in _own_settings(method).items()
    }
    return {**task.settings, **own}


def own_settings(method_name: str) -> set[str]:
    """The names of a method's own settings; none for a method that is not known (any more)."""
    return set(_own_settings(METHODS[method_name])) if method_name in METHODS else set()


def all_kinds() -> dict[str, Kind]:
    """Every setting of a task or a method, and what it takes."""
    everything = [task.settings for task in TASKS.values()] + [method.settings for method in METHODS.values()]
    own = {name: kind_of(name, setting) for settings in everything for name, setting in settings.items()}
    return {**KINDS, **own}


def _own_settings(method: type[Method]) -> dict[str, Setting]:
    # What a method's prerequisite is made with matters to the method too.
    before = {} if method.prerequisite is None else _own_settings(METHODS[method.prerequisite])
    return {**before, **method.settings}


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

    Args:
        task_names: names in ``TASKS``, or of data sets below ``data_root``.
        method_names: names in ``METHODS``; ``all`` stands for all of them.
        num_seeds: how many seeds, at least 1.
        overrides: settings to change, wherever a run has them.
        time_budget: seconds of training that each run has; None for as many as its epochs take.
        data_root: where to look for data sets that no task is written for.

    Raises:
        UserError: if a name is unknown, no run has a setting that is to be changed, or no pair is suitable.
    """
    pairs = _pairs(task_names, method_names, data_root)
    _check_used(overrides, [settings_of(*pair) for pair in pairs])
    suitable = [(task, method) for task, method in pairs if method.unsuitable(task) is None]
    if not suitable:
        reasons = "\n".join(f"  {task.name} {method.name}: {method.unsuitable(task)}" for task, method in pairs)
        raise UserError(f"there is nothing to run:\n{reasons}")
    # Seeds before methods: methods of one seed share its data.
    return [
        _run(pair, seed, overrides, time_budget)
        for _, of_task in groupby(suitable, key=lambda pair: pair[0].name)
        for seed, pair in product(range(num_seeds), list(of_task))
    ]


def plan_demo(num_seeds: int, overrides: Mapping[str, Any], time_budget: float | None = None) -> list[Run]:
    """The runs of the demo."""
    parts = [plan([task], methods, num_seeds, overrides, time_budget=time_budget) for task, methods in DEMO.items()]
    return [run for part in parts for run in part]


def left_out(
    task_names: Iterable[str],
    method_names: Iterable[str],
    overrides: Mapping[str, Any],
    *,
    time_budget: float | None = None,
    data_root: Path | None = None,
) -> list[Unsuitable]:
    """The pairs that ``plan`` leaves out, with the config that their runs would have had."""
    return [
        Unsuitable(task.name, method.name, _run((task, method), 0, overrides, time_budget).config, reason)
        for task, method in _pairs(task_names, method_names, data_root)
        if (reason := method.unsuitable(task)) is not None
    ]


def prerequisite_of(run: Run) -> Run | None:
    """The run whose record this one needs first, with the same seed and settings."""
    name = METHODS[run.method].prerequisite
    if name is None:
        return None
    others = own_settings(run.method) - own_settings(name)
    return replace(run, method=name, settings={key: run.settings[key] for key in run.settings if key not in others})


def with_prerequisites(runs: Iterable[Run]) -> list[Run]:
    """The runs, each after the runs that it needs first, which are added where they are not among them."""
    ordered: dict[str, Run] = {}
    for run in runs:
        chain = [run]
        while (needed := prerequisite_of(chain[-1])) is not None:
            chain.append(needed)
        for one in reversed(chain):
            ordered.setdefault(str(one), one)
    return list(ordered.values())


def find_method(name: str) -> type[Method]:
    """The method of this name, or an error that lists what there is."""
    if name not in METHODS:
        known = (*METHODS, ALL)
        raise UserError(f"no method is called {name!r}{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return METHODS[name]


def _pairs(task_names: Iterable[str], method_names: Iterable[str], data_root: Path | None) -> list[Pair]:
    tasks = [find_task(name, data_root) for name in dict.fromkeys(task_names)]
    names = [name for given in method_names for name in (METHODS if given == ALL else [given])]
    methods = [find_method(name) for name in dict.fromkeys(names)]
    return [(task, method) for task in tasks for method in methods]


def _run(pair: Pair, seed: int, overrides: Mapping[str, Any], time_budget: float | None) -> Run:
    settings = {name: overrides.get(name, setting.value) for name, setting in settings_of(*pair).items()}
    return Run(pair[0].name, pair[1].name, seed, settings, time_budget)


def _check_used(overrides: Mapping[str, Any], all_settings: Sequence[Mapping[str, Setting]]) -> None:
    known = {name: setting for settings in all_settings for name, setting in settings.items()}
    for name in overrides:
        if name not in known:
            rules = "\n".join(f"  {one}: {kind_of(one, known[one]).rule}" for one in sorted(known))
            raise UserError(
                f"none of these runs has a setting {name!r}{did_you_mean(name, known)}; they have:\n{rules}"
            )
