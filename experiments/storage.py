"""Runs on disk while a sweep works: one JSON file a run, written whole or not at all.

Below a folder lie ``<task>/<method>/seed-<n>.json``, a run; ``failed-seed-<n>.json``, why the last try at one
failed, which the next success removes; and ``unsuitable.json``, why a method makes no sense on a task.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from experiments.errors import UserError
from experiments.run import Run, Unsuitable

try:
    import fcntl
except ImportError:  # Windows has no such locks, and two sweeps there may do a run twice
    fcntl = None  # type: ignore[assignment]

Record = dict[str, Any]

# Writing takes milliseconds; what is older was left by a process that was killed while it wrote.
STALE_SECONDS = 60


def path_of(folder: Path, run: Run) -> Path:
    """Where a run is stored: ``<folder>/<task>/<method>/seed-<n>.json``."""
    return folder / run.task / run.method / f"seed-{run.seed}.json"


class Claim:
    """Tells other sweeps on this machine that a run is being done; it ends with the process at the latest."""

    def __init__(self, file: IO[str] | None) -> None:
        self._file = file

    def close(self) -> None:
        """Let others have the run."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()


def claim(folder: Path, run: Run) -> Claim | None:
    """Claim a run; None while another sweep is at it."""
    path = path_of(folder, run).with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8")
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        return Claim(None)  # a full disk, or a file system without locks: what comes of the run will tell
    return Claim(file)


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
    failure = {"task": run.task, "method": run.method, "seed": run.seed, "config": run.config}
    write(_failure_path(path_of(folder, run)), {**failure, "error": error, "details": details})


def write_unsuitable(folder: Path, pair: Unsuitable) -> None:
    """Store why a method is not run on a task, for the report."""
    write(folder / pair.task / pair.method / "unsuitable.json", asdict(pair))


def read(path: Path) -> Record:
    """Read a stored run.

    Raises:
        UserError: if the file is no run.
    """
    record = read_json(path, {"task", "method", "seed", "config", "objective", "groups", "history"})
    if not record["history"]:
        raise UserError(f"{path} is not a stored run: it lacks epochs; delete it and run again")
    return record


def read_json(path: Path, keys: set[str]) -> Record:
    """Read a file that has to hold an object with some keys.

    Raises:
        UserError: if it does not.
    """
    try:
        record: Record = json.loads(path.read_bytes())
        absent = keys - record.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a stored run: {error}; delete it and run again") from error
    if absent:
        raise UserError(f"{path} is not a stored run: it lacks {sorted(absent)}; delete it and run again")
    return record


def _failure_path(path: Path) -> Path:
    return path.with_name(f"failed-{path.name}")


def _clear_stale(folder: Path) -> None:
    for path in folder.glob("*.part"):
        try:
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
        except FileNotFoundError:
            continue  # another sweep cleared it, or put it in place, first
