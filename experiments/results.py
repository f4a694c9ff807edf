"""Stored runs: files ``<task>/<method>/seed-<n>.json`` while a sweep works, for a repository one table of all of them.

A row of ``runs.csv.xz`` is an epoch of a run, as a whole (``group`` is empty) or of one group; epoch 0 has the first
proportions. Its ``settings`` are a place in the list of that name in ``runs.json``, which says what made the runs.
"""

import hashlib
import json
import lzma
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import BaseFileLock, FileLock, Timeout

from experiments.errors import UserError
from experiments.run import Record, Run

TABLE, MADE_WITH, SPENT = "runs.csv.xz", "runs.json", "preparation_seconds"
RUN_KEYS = ("task", "method", "seed", "config", "objective", "groups", "history")
# The columns of values, by their names in a record: of a whole epoch, and of lists by group.
WHOLE = ("train_seconds", "train_loss", "train_error", "test_loss", "test_error")
BY_GROUP = {
    "train_by_group": "train_error", "test_by_group": "test_error", "group_losses": "train_loss",
    "proportions": "proportion",
}  # fmt: skip
COLUMNS = ["task", "settings", "method", "seed", "epoch", "group", *WHOLE, "proportion"]


def path_of(folder: Path, run: Run, prefix: str = "") -> Path:
    """Where a run is stored, or with the prefix ``failed-`` why the last try at it failed."""
    return folder / run.task / run.method / f"{prefix}seed-{run.seed}.json"


def lock_of(folder: Path, run: Run) -> BaseFileLock:
    """The lock by which sweeps on this machine tell each other that a run is being done."""
    return FileLock(path_of(folder, run).with_suffix(".lock"), timeout=0, thread_local=False)


def claim(lock: BaseFileLock) -> bool:
    """Take the run; False while another sweep is at it."""
    # A full disk or a file system without locks is no hindrance: what comes of the run will tell.
    with suppress(OSError, NotImplementedError):
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            return False
    return True


def release(lock: BaseFileLock) -> None:
    """Let others have the run."""
    if lock.is_locked:
        with suppress(OSError):  # Windows keeps a file that is open
            Path(lock.lock_file).unlink()
    lock.release()


def write(path: Path, content: Record | bytes) -> None:
    """Put a file in place in one step, so that a stop leaves whole files only; a record's numbers must be finite."""
    if isinstance(content, dict):
        content = json.dumps(content, indent=1, allow_nan=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own for each writer: two sweeps may store the same run at once, and the last one stays.
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read_file(path: Path, keys: Iterable[str] = RUN_KEYS) -> Record:
    """Read a stored run, or another file that has to hold an object with some keys; a ``UserError`` if it does not."""
    try:
        record: Record = json.loads(path.read_bytes())
        absent = [key for key in keys if record.get(key) in (None, [])]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a stored run: {error}; delete it and run again") from error
    if absent:
        raise UserError(f"{path} is not a stored run: it lacks {absent}; delete it and run again")
    return record


def read(folder: Path) -> list[Record]:
    """Every run below a folder, in either form, however deep."""
    return [record for _, record in read_runs(folder)]


def read_runs(folder: Path) -> Iterator[tuple[Path, Record]]:
    """The same, each with the file that it is in, in the order of paths; a ``UserError`` if a file is no run."""
    for path in sorted([*folder.rglob("seed-*.json"), *folder.rglob(TABLE)]):
        for record in _read_table(path, path.stat().st_mtime_ns) if path.name == TABLE else [read_file(path)]:
            yield path, record


def read_failures(folder: Path) -> Iterator[Record]:
    """Every failure stored below a folder whose run has not succeeded."""
    return _notes(folder, "failed-seed-*.json", ("task", "method", "seed", "config", "error"), "failures")


def read_unsuitable(folder: Path) -> Iterator[Record]:
    """Every note below a folder on a method that was left out."""
    return _notes(folder, "unsuitable.json", ("task", "method", "config", "reason"), "unsuitable")


def _notes(folder: Path, files: str, keys: Iterable[str], packed_as: str) -> Iterator[Record]:
    for path in sorted(folder.rglob(files)):
        mended = path.with_name(path.name.removeprefix("failed-"))
        if mended == path or not mended.exists():
            yield read_file(path, keys)
    for path in sorted(folder.rglob(MADE_WITH)):
        yield from read_file(path, ("settings",)).get(packed_as, [])


def find(folder: Path, run: Run) -> Record | None:
    """What is stored of a run in a folder; None if it is still to do, a ``UserError`` if a file has other settings."""
    path, table = path_of(folder, run), folder / TABLE
    if not path.exists():
        packed = _read_table(table, table.stat().st_mtime_ns) if table.exists() else []
        return next((one for one in packed if run.identity.items() <= one.items()), None)
    record = read_file(path)
    stored, asked = record["config"], run.settings
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
    write(target / MADE_WITH, beside | notes)
    write(target / TABLE, table)
    return len(frames)


def _rows(history: list[Record], initial: list[float]) -> pd.DataFrame:
    """A run's rows: of each epoch as a whole, then of its groups."""
    first = pd.DataFrame({"epoch": 0, "group": range(len(initial)), "proportion": initial})
    epochs = pd.DataFrame(history).set_index("epoch")
    by_group = epochs.filter(BY_GROUP).rename(columns=BY_GROUP)
    by_group = by_group.explode(list(by_group)).astype(float)
    by_group["group"] = by_group.groupby("epoch").cumcount()
    rows = pd.concat([first, epochs.filter(WHOLE).astype(float).reset_index(), by_group.reset_index()])
    return rows.reindex(columns=COLUMNS).sort_values(["epoch", "group"], na_position="first")


@lru_cache(maxsize=8)
def _read_table(path: Path, changed: int) -> list[Record]:
    """The runs of a table, as they were packed; read once while the time when it ``changed`` is the same."""
    beside = read_file(path.with_name(MADE_WITH), ("settings", "sha256"))
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
