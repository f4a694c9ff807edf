"""Runs on disk: one JSON file a run, written whole or not at all.

Below a folder lie ``<task>/<method>/seed-<n>.json``, a run; ``failed-seed-<n>.json``, why the last try at one
failed, which the next success removes; and ``unsuitable.json``, why a method makes no sense on a task.
"""

from __future__ import annotations

import gzip
import json
import os
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.runs import Run, Unsuitable

Record = dict[str, Any]

# Writing takes milliseconds; what is older was left by a process that was killed while it wrote.
STALE_SECONDS = 60


def path_of(folder: Path, run: Run) -> Path:
    """Where a run is stored: ``<folder>/<task>/<method>/seed-<n>.json``."""
    return folder / run.task.name / run.method.name / f"seed-{run.seed}.json"


def write(path: Path, record: Record) -> None:
    """Put a record in place in one step, so that a stop at any time leaves whole files only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_stale(path.parent)
    # A name of its own for each writer: two sweeps may store the same run at once, and the last one stays.
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(record, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_run(folder: Path, run: Run, record: Record) -> None:
    """Store a finished run; earlier failures are forgotten."""
    path = path_of(folder, run)
    write(path, record)
    _failure_path(path).unlink(missing_ok=True)


def write_failure(folder: Path, run: Run, error: str, details: str) -> None:
    """Store why a run failed, for the report; it does not count as done."""
    failure = {
        "task": run.task.name,
        "method": run.method.name,
        "seed": run.seed,
        "config": run.config,
        "error": error,
        "details": details,
    }
    write(_failure_path(path_of(folder, run)), failure)


def write_unsuitable(folder: Path, pair: Unsuitable) -> None:
    """Store why a method is not run on a task, for the report."""
    note = {"task": pair.task.name, "method": pair.method.name, "config": pair.config, "reason": pair.reason}
    write(folder / pair.task.name / pair.method.name / "unsuitable.json", note)


def read(path: Path) -> Record:
    """Read a stored run.

    Raises:
        UserError: if the file is no run.
    """
    record = _read(path, {"task", "method", "seed", "config", "objective", "groups", "history"})
    if not record["history"]:
        raise UserError(f"{path} is not a stored run: it lacks epochs; delete it and run again")
    return record


def is_done(folder: Path, run: Run) -> bool:
    """Whether a run is stored already.

    Raises:
        UserError: if what is stored was made with other settings; it is neither reused nor overwritten.
    """
    path = path_of(folder, run)
    if not path.exists():
        return False
    stored, asked = read(path)["config"], run.config
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
    return True


def read_runs(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Every run stored below a folder, packed ones too, however deep, in the order of their paths."""
    for path in sorted([*folder.rglob("seed-*.json"), *folder.rglob("seed-*.json.gz")]):
        yield path, read(path)


def read_failures(folder: Path) -> Iterator[Record]:
    """Every failure stored below a folder whose run has not succeeded."""
    for path in sorted(folder.rglob("failed-seed-*.json")):
        if not path.with_name(path.name.removeprefix("failed-")).exists():
            yield _read(path, {"task", "method", "seed", "config", "error"})


def read_unsuitable(folder: Path) -> Iterator[Record]:
    """Every note below a folder on a method that was left out."""
    for path in sorted(folder.rglob("unsuitable.json")):
        yield _read(path, {"task", "method", "config", "reason"})


def _failure_path(path: Path) -> Path:
    return path.with_name(f"failed-{path.name}")


def _read(path: Path, keys: set[str]) -> Record:
    try:
        content = path.read_bytes()
        record: Record = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        absent = keys - record.keys()
    except (OSError, EOFError, zlib.error, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a stored run: {error}; delete it and run again") from error
    if absent:
        raise UserError(f"{path} is not a stored run: it lacks {sorted(absent)}; delete it and run again")
    return record


def _clear_stale(folder: Path) -> None:
    for path in folder.glob("*.part"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # another sweep cleared it, or put it in place, first
