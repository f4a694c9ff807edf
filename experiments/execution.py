"""Train one run, in this process or in another: what is told on the way, and the record at the end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.datasets.splits import Data
from experiments.environment import describe_environment
from experiments.errors import UserError
from experiments.plan import find_method
from experiments.run import Run
from experiments.tasks import Task, find_task
from experiments.training import Training
from learn2mix.extras import needs_extra

Record = dict[str, Any]
Tell = Callable[[int, float], None]  # after each epoch: its number, and the seconds of training so far


@dataclass(frozen=True)
class RunOptions:
    """What all runs of a sweep have in common; ``threads`` are torch's, of each of ``jobs`` runs at the same time."""

    data_root: Path
    device: str = "cpu"
    threads: int = 1
    jobs: int = 1
    command: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a run could not be finished: in a line, and all there is to know about it."""

    run: Run
    error: str
    details: str = ""


def load_data(task: Task, run: Run, data_root: Path) -> Data:
    """The data of a run: they depend on the task, its settings and the seed, never on the method."""
    return task.load(data_root, run.settings, np.random.default_rng(run.seed))


def execute(run: Run, options: RunOptions, prerequisite: Record | None, tell: Tell) -> Record | Failure:
    """Train a run and tell each epoch; an error is an outcome too, so that other runs go on."""
    torch.set_num_threads(options.threads)
    try:
        with needs_extra("experiments"):
            return _train(run, options, prerequisite, tell)
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        return Failure(run, kind + str(error).removeprefix(f"{run}: "), traceback.format_exc())


def _train(run: Run, options: RunOptions, prerequisite: Record | None, tell: Tell) -> Record:
    task = find_task(run.task, options.data_root)
    data = load_data(task, run, options.data_root)
    started = time.perf_counter()
    training = Training(run, task, find_method(run.method), data, torch.device(options.device), prerequisite)
    preparation_seconds = time.perf_counter() - started
    groups = {
        "names": list(data.group_names),
        "train_counts": data.counts(data.train),
        "test_counts": data.counts(data.test),
        "initial_proportions": training.method.proportions.tolist(),
    }
    history, seconds = [], 0.0
    for row in training.epochs(run.time_budget):
        history.append(row)
        seconds += row["train_seconds"]
        tell(row["epoch"], seconds)
    judged = task.objective
    return {
        **run.identity,
        "environment": describe_environment(options.device, options.jobs),
        "command": options.command,
        "objective": {"kind": judged.kind, "error_name": judged.error_name, "scale": judged.error_scale},
        "groups": groups,
        "preparation_seconds": preparation_seconds,
        "history": history,
    }


class Worker:
    """A process that answers each run and prerequisite sent through ``pipe`` by its epochs and what ``execute`` says.

    Data that are read once serve many runs. It is forked from a server that has imported torch and used nothing of it:
    that takes a moment, not seconds, and it may begin to use CUDA, as the fork of a process that has begun could not.
    """

    def __init__(self, options: RunOptions) -> None:
        context: Any = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
        context.set_forkserver_preload(["experiments.execution"])
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, options), daemon=True)
        if sys.platform == "win32":
            self._process.start()
        else:
            # Ctrl-C goes to all processes of a terminal, but only the sweep's answers it. The tracker would be
            # started with the process, and unblock what is blocked here.
            resource_tracker.ensure_running()
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()  # else the end of the process would not be the end of its connection

    def end(self) -> str:
        """Make sure that the process is gone, and say how it ended."""
        self._process.kill()
        self._process.join()
        code = self._process.exitcode or 0
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return f"its worker process {how}{' (out of memory?)' if code == -9 else ''}"


def _work(pipe: Connection, options: RunOptions) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, ConnectionError):  # nobody listens any more
        while True:
            run, prerequisite = pipe.recv()
            pipe.send(execute(run, options, prerequisite, lambda *epoch: pipe.send(epoch)))


def _end_with_parent() -> None:
    """Leave when the sweep's process is gone, however it ended: nobody would store what is trained here."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
