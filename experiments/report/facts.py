"""What a reader needs to trust a section's numbers, and to make them again: settings, changes, hardware, time."""

from __future__ import annotations

import json
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
    stated = {"command": command(section), "settings": _listed(section.config)}
    if changes := _changes(section.config, usual):
        sources = {name: f" (there {usual[name].value}, {usual[name].source})" for name in changes if name in usual}
        stated["changed from the task's own"] = _listed({n: f"{v}{sources.get(n, '')}" for n, v in changes.items()})
    environments = {json.dumps(one, sort_keys=True): one for one in section.runs["environment"].dropna()}
    if environments:
        stated["made on"] = "; ".join(map(_hardware, environments.values()))
    if section.trained:
        seconds = section.values["whole", "seconds"].groupby(level=RUN).max()
        stated["time"] = f"{seconds.sum():,.0f} s of training in {len(seconds)} runs"
    return stated


def command(section: Section) -> str:
    """The command that does the section's runs; methods run with several settings of their own take one for each."""
    task = find_task(section.task, None)
    changes = _changes(section.config, task.settings)
    for label, method in section.methods.items():
        # Where a method was run in one way only, that way is part of the command.
        if label == method and method in METHODS:
            changes |= _changes(section.own[label], settings_of(task, METHODS[method]))
    options = {
        "methods": " ".join(dict.fromkeys(section.methods.values())),
        "seeds": max(section.runs["seed"].dropna(), default=0) + 1,
        "epochs": changes.pop("epochs", None),
        "time-budget": f"{changes.pop('time_budget'):g}" if "time_budget" in changes else None,
        "set": _listed(changes, " ") or None,
    }
    given = [f"--{name} {value}" for name, value in options.items() if value is not None]
    return " ".join(["python -m experiments run", section.task, *given])


def _changes(config: Mapping[str, Any], usual: Mapping[str, Setting]) -> dict[str, Any]:
    """The settings that are not the usual ones."""
    return {name: value for name, value in config.items() if name not in usual or usual[name].value != value}


def _listed(config: Mapping[str, Any], separator: str = ", ") -> str:
    return separator.join(f"{name}={value}" for name, value in config.items())


def _hardware(environment: Mapping[str, Any]) -> str:
    known = {"processor": environment.get("machine", "an unknown machine"), "jobs": 1, "commit": None, **environment}
    versions = [f"{name} {version}" for name, version in known.get("versions", {}).items()]
    parts = [f"{known.get('cpus', '?')} CPUs", f"device {known.get('device', '?')}"]
    parts += [f"{known.get('threads', '?')} thread(s) a job", f"{known['jobs']} job(s)"]
    return ", ".join([known["processor"], *parts, *versions, f"commit {known['commit']}"])
