"""Put stored runs into sections: by task and its settings, then by method and its own settings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments import results
from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.plan import own_settings, settings_of
from experiments.report.sections import Section
from experiments.run import Record
from experiments.tasks import TASKS, find_task

# A run as it is stored, or a failure, or a method that was left out; its settings are in ``shared`` and ``own``.
STORED = ["task", "method", "seed", "objective", "groups", "environment", "command", "preparation_seconds", "history"]
COLUMNS = [*STORED, "shared", "own", "failure", "reason"]


def collect(folders: Sequence[Path]) -> tuple[list[Section], list[str]]:
    """Read all that is stored below some folders: sections, as ``list`` orders them, and notes on runs left aside.

    Raises:
        UserError: if there is nothing, a file is no run, or runs of a section have other groups.
    """
    rows, notes, paths = list[Record](), list[str](), dict[str, Path]()
    for folder in folders:
        for path, record in results.read_runs(folder):
            key = json.dumps([record[name] for name in ("task", "method", "config", "seed")], sort_keys=True)
            if key not in paths:
                rows.append(record)
            elif paths[key].resolve() != path.resolve():
                name = f"{record['task']} {record['method']} seed {record['seed']}"
                notes.append(f"{name} is stored twice; {paths[key]} is used, {path} is not")
            paths.setdefault(key, path)
        rows += [{**failure, "failure": failure["error"]} for failure in results.read_failures(folder)]
        rows += results.read_unsuitable(folder)
    if not rows:
        looked_in = ", ".join(str(folder.absolute()) for folder in folders)
        raise UserError(f"no runs in {looked_in}; expected <task>/<method>/seed-<n>.json below it")
    runs = pd.DataFrame(sorted(map(_split, rows), key=_order), columns=COLUMNS, dtype=object)
    runs, sections = runs.where(runs.notna(), None), []
    for task, of_task in runs.groupby("task", sort=False):
        by_config = of_task.groupby("shared", sort=False)
        for suffix, (_, members) in zip(telling_apart(list(by_config.groups)), by_config, strict=True):
            # Methods that were left out make no section by themselves.
            if members["seed"].notna().any():
                sections.append(Section(f"{task}{suffix}", members.assign(label=_labels(members))))
    return sections, notes


def telling_apart(configs: Sequence[str]) -> list[str]:
    """For each of several settings in JSON, those that are not the same in all, as `` (name=value, ...)``."""
    loaded = [json.loads(config) for config in configs]
    names = sorted({name for config in loaded for name in config})
    differing = [name for name in names if len({json.dumps(config.get(name)) for config in loaded}) > 1]
    texts = [", ".join(f"{name}={one[name]}" for name in differing if one.get(name) is not None) for one in loaded]
    return [f" ({text})" if text else "" for text in texts]


def _split(record: Record) -> Record:
    """A record with the settings that its methods share, and the method's own, as JSON."""
    names = own_settings(record["method"])
    parts = {"shared": record["config"].keys() - names, "own": record["config"].keys() & names}
    return record | {part: json.dumps({one: record["config"][one] for one in sorted(of)}) for part, of in parts.items()}


def _labels(runs: pd.DataFrame) -> list[str]:
    """A method's name; with its settings where there are several, but for the one with the usual settings."""
    labels, task = {}, find_task(runs["task"].iloc[0], None)
    for method, same in runs.groupby("method", sort=False)["own"].unique().items():
        usual = settings_of(task, METHODS[method]) if method in METHODS else {}
        for own, suffix in zip(same, telling_apart(same), strict=True):
            is_usual = usual and json.loads(own) == {name: usual[name].value for name in own_settings(method)}
            labels[method, own] = method if is_usual else f"{method}{suffix}"
    return [labels[pair] for pair in zip(runs["method"], runs["own"], strict=True)]


def _order(run: Record) -> tuple[Any, ...]:
    """As ``list`` shows them; what it does not know comes last. Seeds in their order, notes after them."""

    def by_value(config: str) -> list[str]:  # numbers in the order of their size, not of their digits
        return [f"{one:020.9f}" if isinstance(one, int | float) else str(one) for one in json.loads(config).values()]

    task, method = run["task"], run["method"]
    places = [*TASKS, task].index(task), task, by_value(run["shared"]), [*METHODS, method].index(method), method
    return *places, by_value(run["own"]), run.get("seed", np.inf)
