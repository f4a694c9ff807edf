"""Stored runs as data: JSON files while a sweep works, and for a repository one table of all of them.

A row of ``runs.csv.xz`` is an epoch of a run, as a whole (``group`` is empty) or of one group; epoch 0 has the first
proportions. Its ``settings`` are a place in the list of that name in ``runs.json``, which says what made the runs.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import storage
from experiments.errors import UserError
from experiments.run import Run
from experiments.storage import Record

if TYPE_CHECKING:
    import pandas as pd

TABLE, MADE_WITH, SPENT = "runs.csv.xz", "runs.json", "preparation_seconds"
# The columns of values, by their names in a record: of a whole epoch, and of lists by group.
WHOLE = ("train_seconds", "train_loss", "train_error", "test_loss", "test_error")
BY_GROUP = {
    "train_by_group": "train_error",
    "test_by_group": "test_error",
    "group_losses": "train_loss",
    "proportions": "proportion",
}
COLUMNS = ["task", "settings", "method", "seed", "epoch", "group", *WHOLE, "proportion"]


def read(folder: Path) -> list[Record]:
    """Every run stored below a folder, in either form, however deep."""
    return [record for _, record in read_runs(folder)]


def read_runs(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Every run below a folder and the file that it is in, in the order of paths; a ``UserError`` if a file is none."""
    for path in sorted([*folder.rglob("seed-*.json"), *folder.rglob(TABLE)]):
        for record in _packed(path) if path.name == TABLE else [storage.read(path)]:
            yield path, record


def read_failures(folder: Path) -> Iterator[Record]:
    """Every failure stored below a folder whose run has not succeeded."""
    for path in sorted(folder.rglob("failed-seed-*.json")):
        if not path.with_name(path.name.removeprefix("failed-")).exists():
            yield storage.read(path, ("task", "method", "seed", "config", "error"))
    yield from _notes(folder, "failures")


def read_unsuitable(folder: Path) -> Iterator[Record]:
    """Every note below a folder on a method that was left out."""
    for path in sorted(folder.rglob("unsuitable.json")):
        yield storage.read(path, ("task", "method", "config", "reason"))
    yield from _notes(folder, "unsuitable")


def _notes(folder: Path, what: str) -> Iterator[Record]:
    for path in sorted(folder.rglob(MADE_WITH)):
        yield from storage.read(path, ("settings",)).get(what, [])


def find(folder: Path, run: Run) -> Record | None:
    """What is stored of a run in a folder, as a file or in its table; None if it is still to be done.

    A file made with other settings is neither reused nor overwritten: that is a ``UserError``.
    """
    path, table = storage.path_of(folder, run), folder / TABLE
    if not path.exists():
        packed = _packed(table) if table.exists() else []
        return next((one for one in packed if run.identity.items() <= one.items()), None)
    record = storage.read(path)
    stored, asked = record["config"], run.config
    names = sorted(name for name in stored.keys() | asked.keys() if stored.get(name) != asked.get(name))
    if names:
        changed = "".join(f"  {name}: stored {stored.get(name)}, asked {asked.get(name)}\n" for name in names)
        raise UserError(
            f"{path} was made with other settings:\n{changed}"
            "Ask for the same settings, choose another folder with --out, or delete the file to run it anew."
        )
    return record


def pack(source: Path, target: Path) -> int:
    """Write all runs below ``source`` as one table into ``target``, numbers to six digits; return how many."""
    import pandas as pd

    frames, settings, seen = [], dict[str, Record](), set[str]()
    for path, record in read_runs(source):
        task, method, seed = (record[name] for name in ("task", "method", "seed"))
        identity = json.dumps([task, method, seed, record["config"]], sort_keys=True)
        if identity in seen:
            raise UserError(f"{task} {method} seed {seed} is stored twice; one is {path}")
        seen.add(identity)
        of_seed = {SPENT: record.get(SPENT), **record["groups"]}
        initial, names = of_seed.pop("initial_proportions"), of_seed.pop("names")
        made_with = {name: value for name, value in record.items() if name not in ("seed", "history", "groups", SPENT)}
        made_with["group_names"] = names
        entry = settings.setdefault(json.dumps(made_with, sort_keys=True), {"place": len(settings), **made_with})
        entry.setdefault("seeds", {})[seed] = of_seed
        rows = _rows(record["history"], initial)
        frames.append(rows.assign(task=task, settings=entry["place"], method=method, seed=seed))
    if not frames:
        raise UserError(f"no runs below {source}")
    table = lzma.compress(pd.concat(frames).to_csv(columns=COLUMNS, index=False, float_format="%.6g").encode())
    beside = {"sha256": hashlib.sha256(table).hexdigest(), "settings": list(settings.values())}
    notes = {"failures": list(read_failures(source)), "unsuitable": list(read_unsuitable(source))}
    storage.write(target / MADE_WITH, beside | notes)
    storage.replace(target / TABLE, table)
    return len(frames)


def _rows(history: list[Record], initial: list[float]) -> pd.DataFrame:
    """A run's rows: of each epoch as a whole, then of its groups."""
    import pandas as pd

    first = pd.DataFrame({"epoch": 0, "group": range(len(initial)), "proportion": initial})
    epochs = pd.DataFrame(history).set_index("epoch")
    by_group = epochs.filter(BY_GROUP).rename(columns=BY_GROUP)
    by_group = by_group.explode(list(by_group)).astype(float)
    by_group["group"] = by_group.groupby("epoch").cumcount()
    rows = pd.concat([first, epochs.filter(WHOLE).astype(float).reset_index(), by_group.reset_index()])
    return rows.reindex(columns=COLUMNS).sort_values(["epoch", "group"], na_position="first")


def _packed(path: Path) -> list[Record]:
    return _read_table(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_table(path: Path, _changed: int) -> list[Record]:
    """The runs of a table, as they were packed; read once while the file is the same."""
    import pandas as pd

    beside = storage.read(path.with_name(MADE_WITH), ("settings", "sha256"))
    if hashlib.sha256(path.read_bytes()).hexdigest() != beside["sha256"]:
        raise UserError(f"{path} is not the table that {MADE_WITH} is of, or it was cut short; pack the runs again")
    try:
        of_runs = pd.read_csv(path).groupby(["settings", "seed"], sort=False)
        return [_record(beside["settings"][place], seed, rows) for (place, seed), rows in of_runs]
    except (OSError, EOFError, ValueError, LookupError, lzma.LZMAError) as error:
        raise UserError(f"{path} is not a table of stored runs: {error}; get it anew") from error


def _record(made_with: Record, seed: int, rows: pd.DataFrame) -> Record:
    of_seed, names = dict(made_with["seeds"][str(seed)]), made_with["group_names"]
    whole, by_group = rows[rows["group"].isna()], rows[rows["group"].notna()]
    shares, by_group = by_group["proportion"].iloc[: len(names)], by_group.iloc[len(names) :]
    columns: dict[str, list[Any]] = {"epoch": whole["epoch"].tolist()}
    columns |= {name: whole[name].tolist() for name in WHOLE if whole[name].notna().all()}
    if made_with["objective"]["kind"] == "classification":
        columns["test_accuracy"] = (1 - whole["test_error"]).tolist()
    for name, column in BY_GROUP.items():
        if by_group[column].notna().any():
            values = by_group[column].astype(object).where(by_group[column].notna(), None)
            columns[name] = values.to_numpy().reshape(-1, len(names)).tolist()
    spent = {SPENT: of_seed.pop(SPENT)}
    groups = {"names": names, **of_seed, "initial_proportions": shares.tolist()}
    history = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    kept = {key: value for key, value in made_with.items() if key not in ("place", "seeds", "group_names")}
    return {**kept, "seed": int(seed), "groups": groups, **spent, "history": history}
