"""Do the runs that are missing, one at a time in this process or several in others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from filelock import BaseFileLock
from tqdm import tqdm

from experiments import results, storage
from experiments.errors import UserError
from experiments.execution import Failure, Record, RunOptions, Worker, execute, load_data
from experiments.plan import prerequisite_of, with_prerequisites
from experiments.run import Run
from experiments.tasks import find_task

# How often to look whether another sweep has finished a run.
PATIENCE_SECONDS = 0.5


def sweep(runs: Sequence[Run], options: RunOptions, out: Path) -> list[Failure]:
    """Train and store every run that is not stored in ``out`` yet; runs that others need come before these.

    Returns:
        The runs that failed; a failure stops no other run, but those that need its record.

    Raises:
        UserError: before anything is trained, if a stored run was made with other settings or data are missing.
    """
    missing = [run for run in runs if results.find(out, run) is None]
    if len(missing) < len(runs):
        _say(f"{len(runs) - len(missing)} of {len(runs)} runs are in {out} already")
    todo = [run for run in with_prerequisites(missing) if results.find(out, run) is None]
    if added := dict.fromkeys(f"{run.task} {run.method}" for run in todo if run not in missing):
        _say(f"{len(todo) - len(missing)} runs are added, as others need their records: {', '.join(added)}")
    for run in {run.task: run for run in todo}.values():
        try:
            load_data(find_task(run.task, options.data_root), run, options.data_root)
        except UserError:
            raise
        except Exception:
            continue  # a fault in the task, not in the user's folder: its runs fail by themselves and are named
    one = _Sweep(todo, options, out)
    try:
        one.do()
    finally:
        one.leave()
    return one.failures


@dataclass
class _Job:
    """A run under way."""

    run: Run
    claim: BaseFileLock
    bar: tqdm

    def tell(self, epoch: int, seconds: float) -> None:
        self.bar.update((seconds if self.run.time_budget else epoch) - self.bar.n)

    def leave(self) -> None:
        self.bar.close()
        storage.release(self.claim)


class _Sweep:
    """The runs that wait, those under way by the worker that trains them (None is this process), and failures."""

    def __init__(self, todo: Sequence[Run], options: RunOptions, out: Path) -> None:
        self.failures: list[Failure] = []
        self._waiting, self._underway = list(todo), dict[Worker | None, _Job]()
        self._workers: list[Worker] = []
        self._options, self._out, self._bar = options, out, _bar("all", len(todo), "runs")

    def do(self) -> None:
        """Start runs as long as there are jobs free, and store what comes of them."""
        while self._waiting or self._underway:
            if len(self._underway) == self._options.jobs or not self._start_next():
                self._listen()

    def leave(self) -> None:
        """Leave nothing running, at once even in the middle of a run, and nothing claimed."""
        for worker in self._workers:
            worker.end()
        for job in self._underway.values():
            job.leave()
        self._bar.close()

    def _start_next(self) -> bool:
        """Start the first run that no other one has to come before, and that no other sweep is at."""
        unfinished = {str(run) for run in (*self._waiting, *(job.run for job in self._underway.values()))}
        for run in self._waiting:
            needed = prerequisite_of(run)
            if str(needed) not in unfinished and (claim := storage.claim(self._out, run)):
                self._waiting.remove(run)
                self._start(run, needed, claim)
                return True
        return False

    def _start(self, run: Run, needed: Run | None, claim: BaseFileLock) -> None:
        worker = next((worker for worker in self._workers if worker not in self._underway), None)
        if worker is None and self._options.jobs > 1:
            try:
                worker = Worker(self._options)
            except BaseException:  # Ctrl-C while it starts, which takes seconds
                storage.release(claim)
                raise
            self._workers.append(worker)
        bar = _bar(str(run), run.time_budget or run.settings["epochs"], "s" if run.time_budget else "epochs")
        job = self._underway[worker] = _Job(run, claim, bar)
        record = None if needed is None else results.find(self._out, needed)
        if results.find(self._out, run) is not None:
            self._end(worker, "done by another sweep")
        elif needed is not None and record is None:
            self._end(worker, self._store(run, Failure(run, f"it needs the record of {needed}, which failed")))
        elif worker is None:  # nothing has to start, and a debugger sees the training
            self._end(worker, self._store(run, execute(run, self._options, record, job.tell)))
        else:
            with suppress(OSError):  # it was killed while it was idle, as is found when it is listened to
                worker.pipe.send((run, record))

    def _listen(self) -> None:
        """Take in what workers tell; where there is nothing to hear, wait for other sweeps."""
        ready = wait([worker.pipe for worker in self._underway if worker], PATIENCE_SECONDS if self._waiting else None)
        for worker in [worker for worker in self._underway if worker and worker.pipe in ready]:
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                message = Failure(self._underway[worker].run, worker.end())
            if isinstance(message, tuple):
                self._underway[worker].tell(*message)
            else:
                self._end(worker, self._store(self._underway[worker].run, message))

    def _store(self, run: Run, outcome: Record | Failure) -> str:
        """Put in place what came of a run, and say it."""
        path, failed = (storage.path_of(self._out, run, prefix) for prefix in ("", "failed-"))
        if not isinstance(outcome, Failure):
            try:
                storage.write(path, outcome)
                failed.unlink(missing_ok=True)
            except (OSError, ValueError) as error:  # a full disk; a number that is not finite
                outcome = Failure(run, f"it could not be stored: {error}")
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            with suppress(OSError):  # a disk that took no record may take no note of it either
                storage.write(failed, {**run.identity, "error": outcome.error, "details": outcome.details})
            return f"failed: {outcome.error}"
        history, judged = outcome["history"], outcome["objective"]
        seconds, last = sum(row["train_seconds"] for row in history), history[-1]["test_error"] * judged["scale"]
        return f"{len(history)} epochs in {seconds:.1f} s of training, {judged['error_name']} {last:.4g}"

    def _end(self, worker: Worker | None, result: str) -> None:
        job = self._underway.pop(worker)
        job.leave()
        self._bar.update()
        _say(f"{job.run}: {result}")


def _bar(name: str, total: float, unit: str) -> tqdm:
    """A bar, in a terminal only."""
    layout = "{desc}: {n:.0f}/{total:.0f} {unit} |{bar}| {elapsed}, {remaining} left"
    return tqdm(total=total, desc=name, unit=unit, bar_format=layout, leave=False, disable=None, dynamic_ncols=True)


def _say(text: str) -> None:
    """Print a line above the bars."""
    tqdm.write(text, file=sys.stderr)
