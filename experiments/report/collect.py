"""Put stored runs into sections: by task and its settings, then by method and its own settings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.plan import own_settings, settings_of
from experiments.report.read import WHOLE, read
from experiments.report.sections import Section
from experiments.tasks import TASKS, find_task


def collect(folders: Sequence[Path]) -> tuple[list[Section], list[str]]:
    """Read all that is stored below some folders.

    Returns:
        The sections, in the order in which ``list`` shows tasks and methods; and what a reader should know of runs that
        were left aside.

    Raises:
        UserError: if there is nothing, a file is no run, or runs of a section have other groups.
    """
    stored = read(folders)
    runs = stored.runs.assign(shared=None, own=None)
    for number, run in runs.iterrows():
        names = own_settings(run["method"])
        for column, is_own in (("shared", False), ("own", True)):
            config = {name: value for name, value in run["config"].items() if (name in names) == is_own}
            runs.at[number, column] = json.dumps(config, sort_keys=True)
    runs = runs.loc[sorted(runs.index, key=lambda number: _order(runs.loc[number]))]
    sections = []
    for task, of_task in runs.groupby("task", sort=False):
        by_config = of_task.groupby("shared", sort=False)
        suffixes = _telling_apart(list(by_config.groups))
        for suffix, (_, members) in zip(suffixes, by_config, strict=True):
            # Methods that were left out make no section by themselves.
            if members["seed"].notna().any():
                sections.append(_section(f"{task}{suffix}", members, stored.values))
    return sections, stored.notes


def _section(title: str, runs: pd.DataFrame, values: pd.DataFrame) -> Section:
    runs = runs.assign(label=_labels(runs))
    done = runs[runs["objective"].notna()]
    _check_groups(done)
    values = values[values["run"].isin(done.index)]
    # Numbered anew, in the order of the methods.
    values = values.assign(run=values["run"].map(dict(zip(done.index, range(len(done)), strict=True))))
    whole, by_group = (values[(values["group"] == WHOLE) == is_whole] for is_whole in (True, False))
    last = by_group["epoch"] == by_group.groupby("run")["epoch"].transform("max")
    curves = _wide(whole, "name", done)
    group_errors = _wide(by_group[last & (by_group["name"] == "error")], "group", done).droplevel("epoch")
    mix = _wide(by_group[by_group["name"] == "proportion"], "group", done)
    names = tuple(done["groups"].iloc[0]["names"]) if len(done) else ()
    counts = np.array([groups["train_counts"] for groups in done["groups"]]).reshape(len(done), len(names))
    orders = np.argsort(-counts, axis=1, kind="stable")
    is_by_size = len(np.unique(orders, axis=0)) > 1
    if is_by_size:
        names = tuple(f"{ordinal(rank)} largest" for rank in range(1, len(names) + 1))
        of_run = dict(zip(zip(done["label"], done["seed"], strict=True), orders, strict=True))
        group_errors, mix = (_reordered(frame, of_run) for frame in (group_errors, mix))
        counts = np.take_along_axis(counts, orders, axis=1)
    train_counts = counts[0] if len(done) else np.array([], dtype=int)
    return Section(title, runs, curves, group_errors, mix, names, train_counts, is_by_size)


def _wide(values: pd.DataFrame, columns: str, runs: pd.DataFrame) -> pd.DataFrame:
    """A column a name or a group, by label, seed and epoch."""
    frame = values.pivot(index=["run", "epoch"], columns=columns, values="value")
    places, epochs = (frame.index.get_level_values(name) for name in frame.index.names)
    by_run = [runs[name].to_numpy()[places.to_numpy(dtype=int)] for name in ("label", "seed")]
    frame.index = pd.MultiIndex.from_arrays([*by_run, epochs], names=["label", "seed", "epoch"])
    return frame


def _reordered(frame: pd.DataFrame, orders: dict[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """Each run's columns in its own order."""
    rows = np.array([orders[key[:2]] for key in frame.index])
    return pd.DataFrame(np.take_along_axis(frame.to_numpy(), rows, axis=1), frame.index, frame.columns)


def _check_groups(runs: pd.DataFrame) -> None:
    for run in runs.itertuples():
        first = next(runs.itertuples())
        if run.groups["names"] != first.groups["names"]:
            one, other = (f"{each.method} seed {each.seed}" for each in (first, run))
            raise UserError(
                f"{run.task}: {one} and {other} were trained on different groups; keep them in different folders"
            )


def _labels(runs: pd.DataFrame) -> pd.Series:
    """A method's name; with its settings where there are several, but for the one with the usual settings."""
    labels = {}
    for method, same in runs.groupby("method", sort=False)["own"].unique().items():
        for own, suffix in zip(same, _telling_apart(same), strict=True):
            labels[method, own] = method if _is_usual(runs["task"].iloc[0], method, own) else f"{method}{suffix}"
    return pd.Series([labels[pair] for pair in zip(runs["method"], runs["own"], strict=True)], runs.index)


def _is_usual(task: str, method: str, own: str) -> bool:
    """Whether the method's own settings are those that it has on this task when nothing is changed."""
    if method not in METHODS:
        return False
    usual = settings_of(find_task(task, None), METHODS[method])
    return bool(json.loads(own) == {name: usual[name].value for name in own_settings(method)})


def _telling_apart(configs: Sequence[str]) -> list[str]:
    """For each of several settings, those that are not the same in all, as `` (name=value, ...)``; else nothing."""
    loaded = [json.loads(config) for config in configs]
    names = sorted({name for config in loaded for name in config})
    differing = [name for name in names if len({json.dumps(config.get(name)) for config in loaded}) > 1]
    texts = [
        ", ".join(f"{name}={config[name]}" for name in differing if config.get(name) is not None) for config in loaded
    ]
    return [f" ({text})" if text else "" for text in texts]


def _order(run: pd.Series) -> tuple[Any, ...]:
    """As ``list`` shows them; what it does not know comes last. Seeds in their order, notes after them."""
    seed = np.inf if run["seed"] is None else run["seed"]
    task, method = run["task"], run["method"]
    places = (_place(task, TASKS), task, _sortable(run["shared"]), _place(method, METHODS), method)
    return (*places, _sortable(run["own"]), seed)


def _sortable(config: str) -> list[str]:
    """Numbers in the order of their size, not of their digits."""
    values = json.loads(config).values()
    return [f"{value:020.9f}" if isinstance(value, int | float) else str(value) for value in values]


def _place(name: str, known: Iterable[str]) -> int:
    names = list(known)
    return names.index(name) if name in names else len(names)


def ordinal(number: int) -> str:
    """A rank in words.

    Example:
        >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 22, 100)]
        ['1st', '2nd', '3rd', '4th', '11th', '22nd', '100th']
    """
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
