"""What a reader needs to trust a section's numbers, and to make them again: settings, changes, hardware, time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.methods import METHODS
from experiments.plan import settings_of
from experiments.report.sections import RUN, Section
from experiments.settings import Setting
from experiments.tasks import find_task


def facts(section: Section) -> dict[str, str]:
    """Names and values, in words."""
    usual = find_task(section.task, None).settings
    changes = _changes(section.config, usual)
    sources = {name: f" (there {usual[name].value}, {usual[name].source})" for name in changes if name in usual}
    made_on = dict.fromkeys(_listed(one | one.get("versions", {})) for one in section.runs["environment"].dropna())
    seconds = section.values["whole", "seconds"].groupby(level=RUN).max() if section.trained else []
    stated = {
        "command": command(section),
        "settings": _listed(section.config),
        "changed from the task's own": _listed({name: f"{changes[name]}{sources.get(name, '')}" for name in changes}),
        "made on": "; ".join(made_on),
        "time": f"{sum(seconds):,.0f} s of training in {len(seconds)} runs" if section.trained else "",
    }
    return {name: value for name, value in stated.items() if value}


def command(section: Section) -> str:
    """The command that does the section's runs; methods run with several settings of their own take one for each."""
    task, own = find_task(section.task, None), dict[str, Any]()
    for label, method in section.methods.items():
        # Where a method was run in one way only, that way is part of the command.
        if label == method and method in METHODS:
            own |= _changes(section.own[label], settings_of(task, METHODS[method]))
    changes = _changes(section.config, task.settings)
    epochs, budget = changes.pop("epochs", None), changes.pop("time_budget", None)
    options = {
        "methods": " ".join(dict.fromkeys(section.methods.values())),
        "seeds": max(section.runs["seed"].dropna(), default=0) + 1,
        "epochs": epochs,
        "time-budget": None if budget is None else f"{budget:g}",
        "set": _listed(changes | own, " ") or None,
    }
    given = [f"--{name} {value}" for name, value in options.items() if value is not None]
    return " ".join(["python -m experiments run", section.task, *given])


def _changes(config: Mapping[str, Any], usual: Mapping[str, Setting]) -> dict[str, Any]:
    """The settings that are not the usual ones."""
    return {name: value for name, value in config.items() if name not in usual or usual[name].value != value}


def _listed(values: Mapping[str, Any], separator: str = ", ") -> str:
    return separator.join(f"{name}={value}" for name, value in values.items() if not isinstance(value, dict))
