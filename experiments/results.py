"""Stored runs as data: JSON files while a sweep works, and for a repository one table of all of them.

The table is ``runs.csv.xz``, which pandas reads: a row is an epoch of a run, as a whole (``group`` is empty) or of one
group, with its losses, errors and share. Epoch 0 has the first proportions. ``runs.json`` beside it says what the
runs were made with: the table's column ``settings`` is a place in its list of the same name.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import lzma
import math
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments import storage
from experiments.errors import UserError
from experiments.run import Run
from experiments.storage import Record

TABLE, MADE_WITH = "runs.csv.xz", "runs.json"
DIGITS = 6
SPENT = "preparation_seconds"
KEYS = ("task", "settings", "method", "seed", "epoch", "group")
# The columns of values, by their names in a record: of a whole epoch, and a list of them by group.
WHOLE = {name: name for name in ("train_seconds", "train_loss", "train_error", "test_loss", "test_error")}
BY_GROUP = {
    "train_by_group": "train_error",
    "test_by_group": "test_error",
    "group_losses": "train_loss",
    "proportions": "proportion",
}
VALUES = (*WHOLE, "proportion")


def read(folder: Path) -> list[Record]:
    """Every run stored below a folder, in either form, however deep."""
    return [record for _, record in read_runs(folder)]


def read_runs(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Every run below a folder and the file that it is in, in the order of their paths.

    Raises:
        UserError: if a file is no run.
    """
    for path in sorted([*folder.rglob("seed-*.json"), *folder.rglob(TABLE)]):
        for record in _read_table(path, path.stat().st_mtime_ns) if path.name == TABLE else [storage.read(path)]:
            yield path, record


def read_failures(folder: Path) -> Iterator[Record]:
    """Every failure stored below a folder whose run has not succeeded."""
    for path in sorted(folder.rglob("failed-seed-*.json")):
        if not path.with_name(path.name.removeprefix("failed-")).exists():
            yield storage.read_json(path, {"task", "method", "seed", "config", "error"})
    yield from _noted(folder, "failures")


def read_unsuitable(folder: Path) -> Iterator[Record]:
    """Every note below a folder on a method that was left out."""
    for path in sorted(folder.rglob("unsuitable.json")):
        yield storage.read_json(path, {"task", "method", "config", "reason"})
    yield from _noted(folder, "unsuitable")


def find(folder: Path, run: Run) -> Record | None:
    """What is stored of a run in a folder, as a file or in its table; None if it is still to be done.

    Raises:
        UserError: if a file was made with other settings; it is neither reused nor overwritten.
    """
    path = storage.path_of(folder, run)
    if path.exists():
        record = storage.read(path)
        _check_config(path, record["config"], run.config)
        return record
    table = folder / TABLE
    asked = (run.task, run.method, run.seed, run.config)
    packed = _read_table(table, table.stat().st_mtime_ns) if table.exists() else []
    return next((one for one in packed if (one["task"], one["method"], one["seed"], one["config"]) == asked), None)


def pack(source: Path, target: Path) -> int:
    """Write all runs below ``source`` as one table into ``target``, numbers to six digits; return how many.

    Raises:
        UserError: if there are no runs, or one is stored twice.
    """
    text, settings, seen = io.StringIO(), dict[str, Record](), set[str]()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((*KEYS, *VALUES))
    for path, record in read_runs(source):
        identity = json.dumps([record[name] for name in ("task", "method", "config", "seed")], sort_keys=True)
        if identity in seen:
            raise UserError(f"{record['task']} {record['method']} seed {record['seed']} is stored twice; one is {path}")
        seen.add(identity)
        groups = {name: value for name, value in record["groups"].items() if name != "initial_proportions"}
        made_with = {name: value for name, value in record.items() if name not in ("seed", "history", "groups", SPENT)}
        made_with["group_names"] = groups.pop("names")
        entry = settings.setdefault(json.dumps(made_with, sort_keys=True), {"place": len(settings), **made_with})
        entry.setdefault("seeds", {})[record["seed"]] = {SPENT: record.get(SPENT), **groups}
        key = (record["task"], entry["place"], record["method"], record["seed"])
        rows.writerows((*key, *row) for row in _rows_of(record))
    if not seen:
        raise UserError(f"no runs below {source}")
    table = lzma.compress(text.getvalue().encode())
    notes = {"failures": list(read_failures(source)), "unsuitable": list(read_unsuitable(source))}
    storage.write(target / MADE_WITH, {"sha256": _hash(table), "settings": list(settings.values()), **notes})
    unfinished = target / f"{TABLE}.part"
    unfinished.write_bytes(table)
    os.replace(unfinished, target / TABLE)
    return len(seen)


def _hash(table: bytes) -> str:
    return hashlib.sha256(table).hexdigest()


def _rows_of(record: Record) -> Iterator[list[Any]]:
    """A run's rows, from the epoch on: it as a whole, then its groups."""
    first = record["groups"]["initial_proportions"]
    yield from ([0, group, *[""] * len(WHOLE), _shown(share)] for group, share in enumerate(first))
    for row in record["history"]:
        yield [row["epoch"], "", *(_shown(row.get(name)) for name in WHOLE), ""]
        for group in range(len(first)):
            by_column = {column: row[name][group] for name, column in BY_GROUP.items() if name in row}
            yield [row["epoch"], group, *(_shown(by_column.get(column)) for column in VALUES)]


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.{DIGITS}g}"


@lru_cache(maxsize=8)
def _read_table(path: Path, _changed: int) -> list[Record]:
    """The runs of a table, as they were packed; read once while the file is the same."""
    import pandas as pd

    beside = storage.read_json(path.with_name(MADE_WITH), {"settings", "sha256"})
    if _hash(path.read_bytes()) != beside["sha256"]:
        raise UserError(f"{path} is not the table that {MADE_WITH} is of, or it was cut short; pack the runs again")
    made_with = beside["settings"]
    try:
        frame = pd.read_csv(path)
        of_runs = frame.groupby(["settings", "seed"], sort=False)
        return [_record(made_with[place], seed, rows) for (place, seed), rows in of_runs]
    except (OSError, EOFError, ValueError, LookupError, lzma.LZMAError) as error:
        raise UserError(f"{path} is not a table of stored runs: {error}; get it anew") from error


def _record(made_with: Record, seed: int, rows: Any) -> Record:
    names = made_with["group_names"]
    is_group = rows["group"].notna()
    whole = rows[~is_group]
    shares = rows[is_group]["proportion"].to_numpy().reshape(-1, len(names))
    trained = rows[is_group & (rows["epoch"] > 0)]
    by_group = {
        name: trained[column].to_numpy().reshape(-1, len(names)).tolist()
        for name, column in BY_GROUP.items()
        if trained[column].notna().any()
    }
    kept = {name: whole[name].tolist() for name in WHOLE if whole[name].notna().all()}
    has_accuracy = made_with["objective"]["kind"] == "classification"
    history = [
        {
            "epoch": epoch,
            **{name: values[place] for name, values in kept.items()},
            **({"test_accuracy": 1 - kept["test_error"][place]} if has_accuracy else {}),
            **{name: [_known(value) for value in values[place]] for name, values in by_group.items()},
        }
        for place, epoch in enumerate(whole["epoch"].tolist())
    ]
    of_seed = dict(made_with["seeds"][str(seed)])
    spent = {SPENT: of_seed.pop(SPENT)}
    groups = {"names": names, **of_seed, "initial_proportions": shares[0].tolist()}
    kept_as_is = {key: value for key, value in made_with.items() if key not in ("place", "seeds", "group_names")}
    return {**kept_as_is, "seed": int(seed), "groups": groups, **spent, "history": history}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _noted(folder: Path, what: str) -> Iterator[Record]:
    for path in sorted(folder.rglob(MADE_WITH)):
        notes: Iterable[Record] = storage.read_json(path, {"settings"}).get(what, [])
        yield from notes


def _check_config(path: Path, stored: Record, asked: Record) -> None:
    changed = [
        f"  {name}: stored {stored.get(name)}, asked {asked.get(name)}"
        for name in sorted(stored.keys() | asked.keys())
        if stored.get(name) != asked.get(name)
    ]
    if changed:
        raise UserError(
            f"{path} was made with other settings:\n" + "\n".join(changed) + "\n"
            "Ask for the same settings, choose another folder with --out, or delete the file to run it anew."
        )
