"""Runs on disk while a sweep works: ``<task>/<method>/seed-<n>.json``, written whole or not at all.

Beside them ``failed-seed-<n>.json`` says why the last try at one failed, which the next success removes.
"""

import json
import os
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from experiments.errors import UserError
from experiments.run import Run

Record = dict[str, Any]
RUN_KEYS = ("task", "method", "seed", "config", "objective", "groups", "history")

# Writing takes milliseconds; what is older was left by a process that was killed while it wrote.
STALE_SECONDS = 60


def path_of(folder: Path, run: Run, prefix: str = "") -> Path:
    """Where a run is stored, or with the prefix ``failed-`` why it could not be."""
    return folder / run.task / run.method / f"{prefix}seed-{run.seed}.json"


def claim(folder: Path, run: Run) -> BaseFileLock | None:
    """Tell other sweeps on this machine that a run is being done; None while another one is at it."""
    path = path_of(folder, run).with_suffix(".lock")
    lock = FileLock(path, timeout=0, thread_local=False)
    # A full disk or a file system without locks is no hindrance: what comes of the run will tell.
    with suppress(OSError, NotImplementedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            return None
    return lock


def release(lock: BaseFileLock) -> None:
    """Let others have the run."""
    if lock.is_locked:
        with suppress(OSError):  # Windows keeps a file that is open
            Path(lock.lock_file).unlink()
    lock.release()


def write(path: Path, record: Record) -> None:
    """Put a record in place; a ``ValueError`` if it has numbers that are not finite."""
    replace(path, json.dumps(record, indent=1, allow_nan=False).encode())


def replace(path: Path, content: bytes) -> None:
    """Put a file in place in one step, so that a stop at any time leaves whole files only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob("*.part"):
        with suppress(FileNotFoundError):  # another sweep cleared it, or put it in place, first
            if time.time() - left.stat().st_mtime > STALE_SECONDS:
                left.unlink()
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


def read(path: Path, keys: Iterable[str] = RUN_KEYS) -> Record:
    """Read a stored run, or another file that has to hold an object with some keys; a ``UserError`` if it does not."""
    try:
        record: Record = json.loads(path.read_bytes())
        absent = [key for key in keys if record.get(key) in (None, [])]
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a stored run: {error}; delete it and run again") from error
    if absent:
        raise UserError(f"{path} is not a stored run: it lacks {absent}; delete it and run again")
    return record
