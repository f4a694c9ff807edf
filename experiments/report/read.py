"""What is stored in folders of runs, as two data frames. Nothing else in the report knows how runs are stored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from experiments import results, storage
from experiments.errors import UserError

WHOLE = -1  # the group of values that are of all groups together


class Stored(NamedTuple):
    """All that folders hold.

    Attributes:
        runs: a row a run, numbered from 0: ``task``, ``method``, ``seed``, ``config``, ``objective``, ``groups``,
            ``environment`` and ``preparation_seconds`` as they are stored. Runs that failed have ``failure`` instead,
            and methods that were left out ``reason``; both are None elsewhere.
        values: in long form, with the columns ``run``, ``epoch`` (0 is before training), ``group`` (its number, or
            ``WHOLE``), ``name`` and ``value``. The names are ``error`` (on the test part) and ``train_error``, both in
            the task's unit, ``proportion``, and ``seconds`` of training since the start.
        notes: what a reader should know of runs that were left aside.
    """

    runs: pd.DataFrame
    values: pd.DataFrame
    notes: list[str]


def read(folders: Sequence[Path]) -> Stored:
    """Read all that is stored below some folders.

    Raises:
        UserError: if there is nothing, or a file is no run.
    """
    runs: list[dict[str, Any]] = []
    values, notes = [], []
    paths: dict[str, Path] = {}
    for folder in folders:
        for path, record in results.read_runs(folder):
            key = json.dumps([record[name] for name in ("task", "method", "config", "seed")], sort_keys=True)
            if key not in paths:
                values.append(_values(record).assign(run=len(runs)))
                runs.append({name: value for name, value in record.items() if name != "history"})
            elif paths[key].resolve() != path.resolve():
                name = f"{record['task']} {record['method']} seed {record['seed']}"
                notes.append(f"{name} is stored twice; {paths[key]} is used, {path} is not")
            paths.setdefault(key, path)
        runs += [{**failure, "failure": failure["error"]} for failure in results.read_failures(folder)]
        runs += results.read_unsuitable(folder)
    if not runs:
        looked_in = ", ".join(str(folder.absolute()) for folder in folders)
        raise UserError(f"no runs in {looked_in}; expected <task>/<method>/seed-<n>.json below it")
    columns = ("task", "method", "seed", "config", "objective", "groups", "environment", "preparation_seconds")
    found = pd.DataFrame(runs, dtype=object, columns=[*columns, "failure", "reason"])
    long = pd.concat(values, ignore_index=True) if values else _long("error", []).assign(run=0)
    return Stored(found.where(found.notna(), None), long, notes)


def _values(record: storage.Record) -> pd.DataFrame:
    """A run's history in long form."""
    history, scale = pd.DataFrame(record["history"]), record["objective"]["scale"]
    mixes = [record["groups"]["initial_proportions"], *history["proportions"]]
    return pd.concat(
        [
            _long("error", scale * history["test_error"].astype(float)),
            _long("error", scale * np.array(history["test_by_group"].tolist(), dtype=np.float64)),
            _long("train_error", scale * history["train_error"].astype(float)),
            _long("seconds", history["train_seconds"].cumsum()),
            _long("proportion", mixes, first_epoch=0),
        ]
    )


def _long(name: str, values: ArrayLike, first_epoch: int = 1) -> pd.DataFrame:
    """A value an epoch, or one a group as well, as rows."""
    array = np.asarray(values, dtype=np.float64)
    groups = np.array([WHOLE]) if array.ndim == 1 else np.arange(array.shape[1])
    epochs = np.arange(first_epoch, first_epoch + len(array))
    return pd.DataFrame(
        {
            "epoch": np.repeat(epochs, len(groups)),
            "group": np.tile(groups, len(epochs)),
            "name": pd.Categorical([name] * array.size, ["error", "train_error", "seconds", "proportion"]),
            "value": array.ravel(),
        }
    )
