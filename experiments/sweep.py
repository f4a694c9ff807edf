"""Do the runs that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from experiments import storage
from experiments.crews import hire
from experiments.errors import UserError
from experiments.execution import Conditions, EpochDone, Event, Failed, Finished, load_data
from experiments.progress import SweepProgress
from experiments.runs import Run, with_prerequisites


class Failure(NamedTuple):
    """A run that could not be finished, and why."""

    run: Run
    error: str


def sweep(runs: Sequence[Run], conditions: Conditions, out: Path, console: Console) -> list[Failure]:
    """Train and store every run that is not stored in ``out`` yet; runs that others need come before these.

    Returns:
        The runs that failed; a failure stops no other run, but those that need its record.

    Raises:
        UserError: before anything is trained, if a stored run was made with other settings or data are missing.
    """
    missing = [run for run in runs if not storage.is_done(out, run)]
    if len(missing) < len(runs):
        console.print(f"{len(runs) - len(missing)} of {len(runs)} runs are in {out} already", highlight=False)
    todo = [run for run in with_prerequisites(missing) if not storage.is_done(out, run)]
    _tell_added(missing, todo, console)
    _check_data(todo, conditions.data_root)
    return _Sweep(todo, conditions, out, console).do()


class _Sweep:
    """The runs still to be started, and what became of the others."""

    def __init__(self, todo: Sequence[Run], conditions: Conditions, out: Path, console: Console) -> None:
        self._waiting = list(todo)
        self._underway: set[str] = set()
        self._failures: list[Failure] = []
        self._out = out
        self._crew = hire(conditions)
        self._progress = SweepProgress(todo, console)

    def do(self) -> list[Failure]:
        """Start runs as long as the crew has room, and store what it makes of them."""
        with self._progress, self._crew:
            while self._waiting or self._crew.is_busy:
                while self._crew.has_room and (run := self._next()) is not None:
                    self._start(run)
                if self._crew.is_busy:
                    for run, event in self._crew.next_events():
                        self._handle(run, event)
        return self._failures

    def _next(self) -> Run | None:
        """Take the first waiting run that needs no record of a run that is not over."""
        pending = self._underway | {str(run) for run in self._waiting}
        for place, run in enumerate(self._waiting):
            if run.prerequisite is None or str(run.prerequisite) not in pending:
                return self._waiting.pop(place)
        return None

    def _start(self, run: Run) -> None:
        prerequisite = None
        if run.prerequisite is not None:
            path = storage.path_of(self._out, run.prerequisite)
            if not path.exists():
                self._fail(run, f"it needs the record of {run.prerequisite}, which failed", "")
                return
            prerequisite = storage.read(path)
        self._underway.add(str(run))
        self._progress.begin(run)
        self._crew.start(run, prerequisite)

    def _handle(self, run: Run, event: Event) -> None:
        match event:
            case EpochDone():
                self._progress.epoch_done(run, event)
            case Finished(record):
                self._underway.remove(str(run))
                storage.write_run(self._out, run, record)
                self._progress.finish(run, record)
            case Failed(error, details):
                self._underway.remove(str(run))
                self._fail(run, error, details)

    def _fail(self, run: Run, error: str, details: str) -> None:
        storage.write_failure(self._out, run, error, details)
        self._failures.append(Failure(run, error))
        self._progress.fail(run, error)


def _tell_added(asked: Sequence[Run], todo: Sequence[Run], console: Console) -> None:
    added = [run for run in todo if str(run) not in {str(one) for one in asked}]
    if added:
        pairs = ", ".join(dict.fromkeys(f"{run.task.name} {run.method.name}" for run in added))
        console.print(f"{len(added)} runs are added, as others need their records: {pairs}", highlight=False)


def _check_data(todo: Sequence[Run], data_root: Path) -> None:
    """Find out what is missing before anything is trained."""
    for run in {run.task.name: run for run in todo}.values():
        try:
            load_data(run, data_root)
        except UserError:
            raise
        except Exception:
            continue  # a fault in the task, not in the user's folder: its runs fail by themselves and are named
