"""How a section's runs were made: the command, the settings, the hardware, the time."""

from __future__ import annotations

from typing import Any

from experiments.methods import METHODS
from experiments.plan import settings_of
from experiments.report.results import Record, Results, Section
from experiments.tasks import find_task


def facts(section: Section) -> list[tuple[str, str]]:
    """Names and values, in words."""
    stated = [("command", command(section)), ("settings", _settings(section))]
    if changed := _changed(section):
        stated.append(("changed from the task's own", changed))
    stated += [("made on", _hardware(environment)) for environment in section.environments]
    seconds = sum(curve.seconds[-1] for results in section.trained for curve in results.curves)
    num_runs = sum(len(results.curves) for results in section.trained)
    return [*stated, ("time", f"{seconds:,.0f} s of training in {num_runs} runs")]


def command(section: Section) -> str:
    """The command that does the section's runs; the folders are the reader's own.

    Methods that were run with several settings of their own take a command for each; this one is for their defaults.
    """
    methods = dict.fromkeys(results.method for results in section.results)
    seeds = [seed for results in section.results for seed in (*results.seeds, *results.failures, *results.missing)]
    parts = ["python -m experiments run", section.task, "--methods", *methods, f"--seeds {max(seeds, default=0) + 1}"]
    changes = _differences(section)
    if "epochs" in changes:
        parts.append(f"--epochs {changes.pop('epochs')}")
    if "time_budget" in changes:
        parts.append(f"--time-budget {changes.pop('time_budget'):g}")
    for results in section.results:
        # Where a method was run in one way only, that way is part of the command.
        if results.label == results.method:
            changes |= _own_differences(section, results)
    if changes:
        parts += ["--set", *(f"{name}={value}" for name, value in changes.items())]
    return " ".join(parts)


def _differences(section: Section) -> dict[str, Any]:
    """The shared settings that are not the task's own."""
    own = find_task(section.task, None).settings
    return {name: value for name, value in section.config.items() if name not in own or own[name].value != value}


def _own_differences(section: Section, results: Results) -> dict[str, Any]:
    """The method's settings that are not its own on this task."""
    if results.method not in METHODS:
        return {}
    usual = settings_of(find_task(section.task, None), METHODS[results.method])
    return {name: value for name, value in results.own.items() if name not in usual or usual[name].value != value}


def _settings(section: Section) -> str:
    return ", ".join(f"{name}={value}" for name, value in section.config.items())


def _changed(section: Section) -> str:
    own = find_task(section.task, None).settings
    return ", ".join(
        f"{name}={value}" + (f" (there {own[name].value}, {own[name].source})" if name in own else "")
        for name, value in _differences(section).items()
    )


def _hardware(environment: Record) -> str:
    versions = environment.get("versions", {})
    parts = [
        environment.get("processor") or environment.get("machine", "an unknown machine"),
        f"{environment.get('cpus', '?')} CPUs",
        f"device {environment.get('device', '?')}",
        f"{environment.get('threads', '?')} thread(s) a job",
        f"{environment.get('jobs', 1)} job(s)",
        *(f"{name} {version}" for name, version in versions.items()),
        f"commit {environment.get('commit')}",
    ]
    return ", ".join(parts)
