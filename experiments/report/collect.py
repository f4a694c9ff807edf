"""Put what is stored in folders into sections: by task and its settings, then by method and its own settings."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from experiments import results as stored_results
from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.plan import own_settings, settings_of
from experiments.report.results import Curve, Record, Results, Section, objective_of
from experiments.tasks import TASKS, find_task


class Key(NamedTuple):
    """Where a record belongs; settings as JSON, so that they can be compared and looked up."""

    task: str
    shared: str
    method: str
    own: str

    @classmethod
    def of(cls, record: Record) -> Key:
        """Tell the settings that are the method's own from those that every method of the task has."""
        names = own_settings(record["method"])
        shared, own = {}, {}
        for name, value in record["config"].items():
            (own if name in names else shared)[name] = value
        return cls(record["task"], _as_key(shared), record["method"], _as_key(own))


@dataclass
class _Found:
    """What was found of one method with its settings."""

    records: dict[int, Record] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    unsuitable: str | None = None


def collect(folders: Sequence[Path]) -> tuple[list[Section], list[str]]:
    """Read all that is stored below some folders.

    Returns:
        The sections, in the order in which ``list`` shows tasks and methods; and what a reader should know of runs that
        were left aside.

    Raises:
        UserError: if there is nothing, a file is no run, or runs of a section have other groups.
    """
    found: dict[Key, _Found] = defaultdict(_Found)
    paths: dict[tuple[Key, int], Path] = {}
    notes = []
    for folder in folders:
        for path, record in stored_results.read_runs(folder):
            key, seed = Key.of(record), record["seed"]
            first = paths.setdefault((key, seed), path)
            if first == path:
                found[key].records[seed] = record
            elif first.resolve() != path.resolve():
                notes.append(f"{key.task} {key.method} seed {seed} is stored twice; {first} is used, {path} is not")
        for failure in stored_results.read_failures(folder):
            found[Key.of(failure)].failures[failure["seed"]] = failure["error"]
        for note in stored_results.read_unsuitable(folder):
            found[Key.of(note)].unsuitable = note["reason"]
    if not found:
        looked_in = ", ".join(str(folder.absolute()) for folder in folders)
        raise UserError(f"no runs in {looked_in}; expected <task>/<method>/seed-<n>.json below it")
    return _sections(found), notes


def _sections(found: Mapping[Key, _Found]) -> list[Section]:
    by_task: dict[str, dict[str, dict[Key, _Found]]] = defaultdict(lambda: defaultdict(dict))
    for key in sorted(found, key=_order):
        by_task[key.task][key.shared][key] = found[key]
    return [
        _section(title, members)
        for task, sections in by_task.items()
        for title, members in zip(_titles(task, list(sections)), sections.values(), strict=True)
        # Methods that were left out make no section by themselves.
        if any(one.records or one.failures for one in members.values())
    ]


def _section(title: str, members: Mapping[Key, _Found]) -> Section:
    first_key = next(iter(members))
    records = [record for one in members.values() for record in one.records.values()]
    _check_groups(records)
    seeds = {seed for one in members.values() for seed in (*one.records, *one.failures)}
    labels = _labels(list(members))
    first = records[0] if records else None
    names = () if first is None else tuple(first["groups"]["names"])
    results = tuple(_results(key, label, members[key], seeds) for key, label in labels.items())
    curves = [curve for one in results for curve in one.curves]
    is_by_size = len({tuple(curve.by_size) for curve in curves}) > 1
    if is_by_size:
        results = tuple(one.sorted_by_size() for one in results)
        names = tuple(f"{ordinal(rank)} largest" for rank in range(1, len(names) + 1))
    objective = None if first is None else objective_of(first)
    return Section(
        title=title,
        task=first_key.task,
        config=json.loads(first_key.shared),
        error_name="test error" if objective is None else objective["error_name"],
        is_classification=objective is not None and objective["kind"] == "classification",
        group_names=names,
        is_by_size=is_by_size,
        train_counts=() if first is None else _counts(first, is_by_size),
        results=results,
        environments=tuple(_distinct(record.get("environment", {}) for record in records)),
    )


def _counts(record: Record, is_by_size: bool) -> tuple[int, ...]:
    counts = record["groups"].get("train_counts", ())
    return tuple(sorted(counts, reverse=True) if is_by_size else counts)


def ordinal(number: int) -> str:
    """A rank in words.

    Example:
        >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 22, 100)]
        ['1st', '2nd', '3rd', '4th', '11th', '22nd', '100th']
    """
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _results(key: Key, label: str, one: _Found, seeds: set[int]) -> Results:
    left_out = one.unsuitable is not None and not one.records
    return Results(
        method=key.method,
        label=label,
        own=json.loads(key.own),
        curves=tuple(Curve.of(one.records[seed]) for seed in sorted(one.records)),
        failures=one.failures,
        missing=() if left_out else tuple(sorted(seeds - one.records.keys() - one.failures.keys())),
        unsuitable=one.unsuitable if left_out else None,
    )


def _check_groups(records: Sequence[Record]) -> None:
    for record in records:
        if record["groups"]["names"] != records[0]["groups"]["names"]:
            one, other = (f"{run['method']} seed {run['seed']}" for run in (records[0], record))
            raise UserError(
                f"{record['task']}: {one} and {other} were trained on different groups; keep them in different folders"
            )


def _titles(task: str, shared: Sequence[str]) -> list[str]:
    return [f"{task}{suffix}" for suffix in _telling_apart(shared)]


def _labels(keys: Sequence[Key]) -> dict[Key, str]:
    """A method's name; with its settings where there are several, but for the one with the usual settings."""
    labels = {}
    for method in dict.fromkeys(key.method for key in keys):
        same = [key for key in keys if key.method == method]
        for key, suffix in zip(same, _telling_apart([key.own for key in same]), strict=True):
            labels[key] = method if _is_usual(key) else f"{method}{suffix}"
    return labels


def _is_usual(key: Key) -> bool:
    """Whether the method's own settings are those that it has on this task when nothing is changed."""
    if key.method not in METHODS:
        return False
    usual = settings_of(find_task(key.task, None), METHODS[key.method])
    return json.loads(key.own) == {name: usual[name].value for name in own_settings(key.method)}


def _telling_apart(configs: Sequence[str]) -> list[str]:
    """For each of several settings, those that are not the same in all, as `` (name=value, ...)``; else nothing."""
    loaded: list[dict[str, Any]] = [json.loads(config) for config in configs]
    names = sorted({name for config in loaded for name in config})
    differing = [name for name in names if len({_as_key(config.get(name)) for config in loaded}) > 1]
    if not differing:
        return [""] * len(loaded)
    texts = [
        ", ".join(f"{name}={config[name]}" for name in differing if config.get(name) is not None) for config in loaded
    ]
    return [f" ({text})" if text else "" for text in texts]


def _order(key: Key) -> tuple[int, str, list[str], int, str, list[str]]:
    """As ``list`` shows them; what it does not know comes last."""
    return (
        _place(key.task, TASKS), key.task, _sortable(key.shared), _place(key.method, METHODS), key.method,
        _sortable(key.own),
    )  # fmt: skip


def _sortable(config: str) -> list[str]:
    """Numbers in the order of their size, not of their digits."""
    values = json.loads(config).values()
    return [f"{value:020.9f}" if isinstance(value, int | float) else str(value) for value in values]


def _place(name: str, known: Iterable[str]) -> int:
    names = list(known)
    return names.index(name) if name in names else len(names)


def _as_key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _distinct(environments: Iterable[Record]) -> list[Record]:
    return [json.loads(text) for text in dict.fromkeys(_as_key(environment) for environment in environments)]
