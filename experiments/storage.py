"""Runs on disk: one JSON file a run, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.runs import Run

Record = dict[str, Any]


def path_of(folder: Path, run: Run) -> Path:
    """Where a run is stored: ``<folder>/<task>/<method>/seed-<n>.json``."""
    return folder / run.task.name / run.method.name / f"seed-{run.seed}.json"


def write(path: Path, record: Record) -> None:
    """Put a record in place in one step, so that a stop at any time leaves whole files only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".json.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(record, file, indent=1, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path) -> Record:
    """Read a stored run.

    Raises:
        UserError: if the file is no run.
    """
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        absent = {"task", "method", "seed", "config", "groups", "history"} - record.keys()
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is not a stored run: {error}; delete it and run again") from error
    if absent or not record["history"]:
        raise UserError(f"{path} is not a stored run: it lacks {sorted(absent) or 'epochs'}; delete it and run again")
    return record


def is_done(folder: Path, run: Run) -> bool:
    """Whether a run is stored already.

    Raises:
        UserError: if what is stored was made with other settings; it is neither reused nor overwritten.
    """
    path = path_of(folder, run)
    if not path.exists():
        return False
    stored, asked = read(path)["config"], dict(run.settings)
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


def read_all(folder: Path) -> Iterator[Record]:
    """Every run stored below a folder, in the order of their paths."""
    for path in sorted(folder.glob("*/*/seed-*.json")):
        yield read(path)
