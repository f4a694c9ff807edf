"""What a reader needs to trust a section's numbers, and to make them again: settings, changes, hardware, time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from experiments.methods import METHODS
from experiments.plan import settings_of
from experiments.report.sections import Section
from experiments.settings import Setting
from experiments.tasks import find_task


def facts(section: Section) -> list[tuple[str, str]]:
    """Names and values, in words."""
    usual = find_task(section.task, None).settings
    changes = _changes(section.config, usual)
    stated = [("command", command(section)), ("settings", _listed(section.config))]
    if changes:
        sources = {name: f" (there {usual[name].value}, {usual[name].source})" for name in changes if name in usual}
        changed = ", ".join(f"{name}={value}{sources.get(name, '')}" for name, value in changes.items())
        stated.append(("changed from the task's own", changed))
    environments = dict.fromkeys(json.dumps(one, sort_keys=True) for one in section.runs["environment"].dropna())
    stated += [("made on", _hardware(json.loads(environment))) for environment in environments]
    if section.trained:
        seconds = section.curves["seconds"].groupby(level=["label", "seed"]).max()
        stated.append(("time", f"{seconds.sum():,.0f} s of training in {len(seconds)} runs"))
    return stated


def command(section: Section) -> str:
    """The command that does the section's runs; the folders are the reader's own.

    Methods that were run with several settings of their own take a command for each; this one is for their defaults.
    """
    task = find_task(section.task, None)
    methods = {label: section.method(label) for label in section.labels}
    num_seeds = max(section.runs["seed"].dropna(), default=0) + 1
    parts = ["python -m experiments run", section.task, "--methods", *dict.fromkeys(methods.values())]
    parts.append(f"--seeds {num_seeds}")
    changes = _changes(section.config, task.settings)
    if "epochs" in changes:
        parts.append(f"--epochs {changes.pop('epochs')}")
    if "time_budget" in changes:
        parts.append(f"--time-budget {changes.pop('time_budget'):g}")
    for label, method in methods.items():
        # Where a method was run in one way only, that way is part of the command.
        if label == method and method in METHODS:
            changes |= _changes(section.own(label), settings_of(task, METHODS[method]))
    return " ".join([*parts, *(["--set", _listed(changes, " ")] if changes else [])])


def _changes(config: Mapping[str, Any], usual: Mapping[str, Setting]) -> dict[str, Any]:
    """The settings that are not the usual ones."""
    return {name: value for name, value in config.items() if name not in usual or usual[name].value != value}


def _listed(config: Mapping[str, Any], separator: str = ", ") -> str:
    return separator.join(f"{name}={value}" for name, value in config.items())


def _hardware(environment: Mapping[str, Any]) -> str:
    parts = [
        environment.get("processor") or environment.get("machine", "an unknown machine"),
        f"{environment.get('cpus', '?')} CPUs",
        f"device {environment.get('device', '?')}",
        f"{environment.get('threads', '?')} thread(s) a job",
        f"{environment.get('jobs', 1)} job(s)",
        *(f"{name} {version}" for name, version in environment.get("versions", {}).items()),
        f"commit {environment.get('commit')}",
    ]
    return ", ".join(parts)
