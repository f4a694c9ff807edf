"""A run is a task x a method x a seed, with settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import Any, NamedTuple

from experiments.errors import UserError
from experiments.methods import METHODS, Method
from experiments.settings import KINDS, Setting, Values
from experiments.tasks import Task, find_task

ALL = "all"


class RunNames(NamedTuple):
    """A run by the names of its parts: what can be sent to another process."""

    task: str
    method: str
    seed: int
    settings: dict[str, Any]
    time_budget: float | None


@dataclass(frozen=True)
class Run:
    """What is to be trained, in full: two equal runs give equal results.

    Attributes:
        task: data, model and objective.
        method: how its batches are made and its losses weighed.
        seed: of the data, the weights and the batches.
        settings: all that matter to this task and method.
        time_budget: seconds of training after which the epoch at hand is the last; None trains all epochs.
    """

    task: Task
    method: Method
    seed: int
    settings: Values
    time_budget: float | None = None

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.task.name} {self.method.name} seed {self.seed}"

    @property
    def config(self) -> dict[str, Any]:
        """What the run's record holds: stored runs with another config are other runs."""
        budget = {} if self.time_budget is None else {"time_budget": self.time_budget}
        return {**self.settings, **budget}

    @property
    def names(self) -> RunNames:
        """The run without its objects."""
        return RunNames(self.task.name, self.method.name, self.seed, dict(self.settings), self.time_budget)

    @classmethod
    def from_names(cls, names: RunNames, data_root: Path) -> Run:
        """The run that has these names."""
        task = find_task(names.task, data_root)
        return cls(task, pick_method(names.method), names.seed, names.settings, names.time_budget)

    @property
    def prerequisite(self) -> Run | None:
        """The run whose record this one needs first, with the same seed and settings."""
        if self.method.prerequisite is None:
            return None
        method = METHODS[self.method.prerequisite]
        settings = {name: self.settings[name] for name in settings_of(self.task, method)}
        return Run(self.task, method, self.seed, settings, self.time_budget)


class Unsuitable(NamedTuple):
    """A method that makes no sense on a task, and why."""

    task: Task
    method: Method
    config: dict[str, Any]
    reason: str


def settings_of(task: Task, method: Method) -> dict[str, Setting]:
    """The settings that matter to a run: the task's, and the method's own with the task's values for them."""
    own = {name: task.method_settings.get(name, setting) for name, setting in _own_settings(method).items()}
    return {**task.settings, **own}


def own_settings(method_name: str) -> set[str]:
    """The names of a method's own settings; none for a method that is not known (any more)."""
    return set(_own_settings(METHODS[method_name])) if method_name in METHODS else set()


def _own_settings(method: Method) -> dict[str, Setting]:
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
        Run(task, method, seed, _resolve(task, method, overrides), time_budget)
        for _, of_task in groupby(suitable, key=lambda pair: pair[0].name)
        for seed, (task, method) in product(range(num_seeds), of_task)
    ]


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
        Unsuitable(task, method, Run(task, method, 0, _resolve(task, method, overrides), time_budget).config, reason)
        for task, method in _pairs(task_names, method_names, data_root)
        if (reason := method.unsuitable(task)) is not None
    ]


def with_prerequisites(runs: Iterable[Run]) -> list[Run]:
    """The runs, each after the runs that it needs first, which are added where they are not among them."""
    ordered: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        chain = [run]
        while (needed := chain[-1].prerequisite) is not None:
            chain.append(needed)
        for one in reversed(chain):
            ordered.setdefault((one.task.name, one.method.name, one.seed), one)
    return list(ordered.values())


def pick_method(name: str) -> Method:
    """The method of this name, or an error that lists what there is."""
    if name not in METHODS:
        raise UserError(f"no method is called {name!r}; there are: {', '.join(METHODS)}, {ALL}")
    return METHODS[name]


def _pairs(task_names: Iterable[str], method_names: Iterable[str], data_root: Path | None) -> list[tuple[Task, Method]]:
    tasks = [find_task(name, data_root) for name in dict.fromkeys(task_names)]
    names = [name for given in method_names for name in (METHODS if given == ALL else [given])]
    methods = [pick_method(name) for name in dict.fromkeys(names)]
    return [(task, method) for task in tasks for method in methods]


def _resolve(task: Task, method: Method, overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {name: overrides.get(name, setting.value) for name, setting in settings_of(task, method).items()}


def _check_used(overrides: Mapping[str, Any], all_settings: Sequence[Mapping[str, Setting]]) -> None:
    known = {name for settings in all_settings for name in settings}
    for name in overrides:
        if name not in known:
            choices = "\n".join(f"  {known_name}: {KINDS[known_name].rule}" for known_name in sorted(known))
            raise UserError(f"none of these runs has a setting {name!r}; they have:\n{choices}")
