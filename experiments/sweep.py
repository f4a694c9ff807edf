"""Do the runs that are missing, one at a time in this process or several in others."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

from filelock import BaseFileLock
from tqdm import tqdm

from experiments import results
from experiments.errors import UserError
from experiments.execution import Failure, RunOptions, Worker, execute, load_data
from experiments.run import Record, Run
from experiments.tasks import find_task


def sweep(runs: Sequence[Run], options: RunOptions, out: Path) -> list[Failure]:
    """Train and store every run that is not stored in ``out`` yet; returns those that failed, which stop no other.

    A ``UserError`` before anything is trained says that a stored run has other settings or that data are missing.
    """
    todo = [run for run in runs if results.find(out, run) is None]
    if len(todo) < len(runs):
        tqdm.write(f"{len(runs) - len(todo)} of {len(runs)} runs are in {out} already", file=sys.stderr)
    for run in {run.task: run for run in todo}.values():
        try:
            load_data(find_task(run.task, options.data_root), run, options.data_root)
        except UserError:
            raise
        except Exception:
            continue  # a fault in the task, not in the user's folder: its runs fail by themselves and are named
    return _Sweep(todo, options, out).do()


@dataclass
class _Job:
    """A run under way."""

    run: Run
    lock: BaseFileLock
    bar: tqdm = field(default_factory=lambda: tqdm(disable=True))

    def tell(self, seconds: float) -> None:
        self.bar.update(seconds if "time_budget" in self.run.settings else 1)

    def leave(self) -> None:
        self.bar.close()
        results.release(self.lock)


class _Sweep:
    """The runs that wait, those under way by the worker that trains them (None is this process), and failures."""

    def __init__(self, todo: Sequence[Run], options: RunOptions, out: Path) -> None:
        self._failures: list[Failure] = []
        self._waiting, self._underway = list(todo), dict[Worker | None, _Job]()
        self._workers: list[Worker] = []
        self._options, self._out, self._bar = options, out, _bar("all", len(todo), "runs")

    def do(self) -> list[Failure]:
        """Start runs as long as there are jobs free, and store what comes of them."""
        try:
            while self._waiting or self._underway:
                if len(self._underway) == self._options.jobs or not self._start_next():
                    self._listen()
        finally:  # nothing goes on running, at once even in the middle of a run, and nothing stays claimed
            for worker in self._workers:
                worker.end()
            for job in self._underway.values():
                job.leave()
            self._bar.close()
        return self._failures

    def _start_next(self) -> bool:
        """Start the first run that no other sweep is at."""
        worker = next((worker for worker in self._workers if worker not in self._underway), None)
        if worker is None and self._options.jobs > 1:
            worker = Worker(self._options)
            self._workers.append(worker)
        for run in self._waiting:
            # Under way before it is claimed, so that a stop at any time leaves no claim.
            job = self._underway[worker] = _Job(run, results.lock_of(self._out, run))
            if results.claim(job.lock):
                self._waiting.remove(run)
                budget, num_epochs = run.settings.get("time_budget"), run.settings["epochs"]
                job.bar = _bar(str(run), budget or num_epochs, "s" if budget else "epochs")
                if results.find(self._out, run) is not None:
                    self._end(worker, None)
                elif worker is None:  # nothing has to start, and a debugger sees the training
                    self._end(worker, execute(run, self._options, job.tell))
                else:
                    with suppress(OSError):  # it was killed while it was idle, as is found when it is listened to
                        worker.pipe.send(run)
                return True
            del self._underway[worker]
        return False

    def _listen(self) -> None:
        """Take in what workers tell; where there is nothing to hear, wait for other sweeps."""
        ready = wait([worker.pipe for worker in self._underway if worker], timeout=0.5 if self._waiting else None)
        for worker in [worker for worker in self._underway if worker and worker.pipe in ready]:
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                message = Failure(self._underway[worker].run, worker.end())
            if isinstance(message, float):
                self._underway[worker].tell(message)
            else:
                self._end(worker, message)

    def _end(self, worker: Worker | None, outcome: Record | Failure | None) -> None:
        """Put in place what came of a run, None where another sweep has done it, and say it."""
        run, told = self._underway[worker].run, "done by another sweep"
        failed = results.path_of(self._out, run, "failed-")
        if isinstance(outcome, dict):
            try:
                results.write(results.path_of(self._out, run), outcome)
                failed.unlink(missing_ok=True)
                history, judged = outcome["history"], outcome["objective"]
                seconds = sum(row["train_seconds"] for row in history)
                error = f"{judged['error_name']} {history[-1]['test_error'] * judged['scale']:.4g}"
                told = f"{len(history)} epochs in {seconds:.1f} s of training, {error}"
            except (OSError, ValueError) as refused:  # a full disk; a number that is not finite
                outcome = Failure(run, f"it could not be stored: {refused}")
        if isinstance(outcome, Failure):
            self._failures.append(outcome)
            told = f"failed: {outcome.error}"
            with suppress(OSError):  # a disk that took no record may take no note of it either
                results.write(failed, {**run.identity, "error": outcome.error, "details": outcome.details})
        self._underway[worker].leave()
        del self._underway[worker]
        self._bar.update()
        tqdm.write(f"{run}: {told}", file=sys.stderr)


def _bar(name: str, total: float, unit: str) -> tqdm:
    """A bar, in a terminal only."""
    layout = "{desc}: {n:.0f}/{total:.0f} {unit} |{bar}| {elapsed}, {remaining} left"
    return tqdm(total=total, desc=name, unit=unit, bar_format=layout, leave=False, disable=None, dynamic_ncols=True)
