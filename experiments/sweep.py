"""Do the runs that are missing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from experiments import results, storage
from experiments.errors import UserError
from experiments.execution import Conditions, Outcome, load_data
from experiments.plan import prerequisite_of, with_prerequisites
from experiments.progress import SweepProgress
from experiments.run import Run
from experiments.tasks import find_task
from experiments.workers import Here, Workers

# How often to look whether another sweep has finished a run.
PATIENCE_SECONDS = 0.5


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
    missing = [run for run in runs if results.find(out, run) is None]
    if len(missing) < len(runs):
        console.print(f"{len(runs) - len(missing)} of {len(runs)} runs are in {out} already", highlight=False)
    todo = [run for run in with_prerequisites(missing) if results.find(out, run) is None]
    added = [run for run in todo if run not in missing]
    if added:
        pairs = ", ".join(dict.fromkeys(f"{run.task} {run.method}" for run in added))
        console.print(f"{len(added)} runs are added, as others need their records: {pairs}", highlight=False)
    _check_data(todo, conditions.data_root)
    workers = Here(conditions) if conditions.jobs == 1 else Workers(conditions)
    progress = SweepProgress(todo, console)
    one = _Sweep(todo, out, workers, conditions.jobs, progress)
    try:
        with progress.bars:
            one.do()
    finally:
        one.leave()
    return one.failures


class _Sweep:
    """The runs still to be started, those under way, and those that failed."""

    def __init__(
        self, todo: Sequence[Run], out: Path, workers: Here | Workers, jobs: int, progress: SweepProgress
    ) -> None:
        self.failures: list[Failure] = []
        self._waiting = list(todo)
        self._underway: dict[Future[Outcome], tuple[Run, storage.Claim]] = {}
        self._out, self._workers, self._jobs, self._progress = out, workers, jobs, progress

    def do(self) -> None:
        """Start runs as long as there are jobs free, and store what comes of them."""
        while self._waiting or self._underway:
            while len(self._underway) < self._jobs and self._start_next():
                self._store_finished(timeout=0)
            if self._underway:
                self._store_finished(timeout=PATIENCE_SECONDS if self._waiting else None)
            elif self._waiting:
                time.sleep(PATIENCE_SECONDS)

    def leave(self) -> None:
        """Leave nothing running, and nothing claimed."""
        self._workers.end()
        for _, claim in self._underway.values():
            claim.close()

    def _start_next(self) -> bool:
        """Start the first run that no other one has to come before, and that no other sweep is at."""
        unfinished = {str(run) for run, _ in self._underway.values()} | {str(run) for run in self._waiting}
        for run in self._waiting:
            needed = prerequisite_of(run)
            if (needed is None or str(needed) not in unfinished) and (claim := storage.claim(self._out, run)):
                self._waiting.remove(run)
                self._start(run, needed, claim)
                return True
        return False

    def _start(self, run: Run, needed: Run | None, claim: storage.Claim) -> None:
        with ExitStack() as unless_underway:
            unless_underway.callback(claim.close)
            record = None if needed is None else results.find(self._out, needed)
            if results.find(self._out, run) is not None:
                self._progress.end(run, "done by another sweep")
            elif needed is not None and record is None:
                self._fail(run, Outcome(None, f"it needs the record of {needed}, which failed"))
            else:
                self._progress.begin(run)
                future = self._workers.submit(run, record, partial(self._progress.tell, run))
                self._underway[future] = run, claim
                unless_underway.pop_all()

    def _store_finished(self, timeout: float | None) -> None:
        for future in wait(self._underway, timeout, FIRST_COMPLETED).done:
            run, claim = self._underway.pop(future)
            with closing(claim):
                self._store(run, future.result())

    def _store(self, run: Run, outcome: Outcome) -> None:
        if outcome.record is None:
            self._fail(run, outcome)
            return
        try:
            storage.write_run(self._out, run, outcome.record)
        except OSError as error:
            self._fail(run, Outcome(None, f"it could not be stored: {error}"))
            return
        history, objective = outcome.record["history"], outcome.record["objective"]
        seconds, error_value = sum(row["train_seconds"] for row in history), history[-1]["test_error"]
        text = f"{objective['error_name']} {error_value * objective['scale']:.4g}"
        self._progress.end(run, f"{len(history)} epochs in {seconds:.1f} s of training, {text}")

    def _fail(self, run: Run, outcome: Outcome) -> None:
        # A disk that took no record may take no note of it either.
        with suppress(OSError):
            storage.write_failure(self._out, run, outcome.error, outcome.details)
        self.failures.append(Failure(run, outcome.error))
        self._progress.end(run, f"failed: {outcome.error}")


def _check_data(todo: Sequence[Run], data_root: Path) -> None:
    """Find out what is missing before anything is trained."""
    for run in {run.task: run for run in todo}.values():
        try:
            load_data(find_task(run.task, data_root), run, data_root)
        except UserError:
            raise
        except Exception:
            continue  # a fault in the task, not in the user's folder: its runs fail by themselves and are named
