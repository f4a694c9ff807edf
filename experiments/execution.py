"""Train one run, in this process or in another: what is told on the way, and the record, with what it was made by."""

import multiprocessing
import os
import platform
import re
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.datasets import Data
from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.run import Record, Run
from experiments.tasks import Task, find_task
from experiments.training import Training
from learn2mix.extras import needs_extra


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


def choose_device(name: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is one, else ``cpu``; an error if ``cuda`` is asked for and not there."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise UserError("--device cuda: torch finds no CUDA device here; use --device cpu or auto, which takes what is")
    return ("cuda" if has_cuda else "cpu") if name == "auto" else name


def describe_environment(device: str = "cpu", jobs: int = 1) -> dict[str, Any]:
    """Versions, hardware, threads, jobs that shared the machine, and the project's commit (None outside a checkout)."""
    told = Path("/proc/cpuinfo")  # the one place where Linux tells a processor's name
    name = re.search(r"^model name\s*: (.+)", told.read_text(encoding="utf-8"), re.MULTILINE) if told.exists() else None
    cpu = name[1] if name else platform.processor() or platform.machine()
    return {
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__},
        "device": device,
        "processor": torch.cuda.get_device_name() if device == "cuda" else cpu,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "jobs": jobs,
        "commit": _commit(),
    }


@cache
def _commit() -> str | None:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip() or None
    except OSError:
        return None


def load_data(task: Task, run: Run, data_root: Path) -> Data:
    """The data of a run: they depend on the task, its settings and the seed, never on the method."""
    return task.load(data_root, run.settings, np.random.default_rng(run.seed))


def execute(run: Run, options: RunOptions, tell: Callable[[float], None]) -> Record | Failure:
    """Train a run and tell each epoch's seconds of training; an error is an outcome too, so that other runs go on."""
    torch.set_num_threads(options.threads)
    try:
        with needs_extra("experiments"):
            return _train(run, options, tell)
    except Exception as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        return Failure(run, kind + str(error).removeprefix(f"{run}: "), traceback.format_exc())


def _train(run: Run, options: RunOptions, tell: Callable[[float], None]) -> Record:
    task = find_task(run.task, options.data_root)
    data = load_data(task, run, options.data_root)
    started = time.perf_counter()
    training = Training(run, task, METHODS[run.method], data, torch.device(options.device))
    preparation_seconds, judged = time.perf_counter() - started, task.objective
    record: Record = {
        **run.identity,
        "environment": describe_environment(options.device, options.jobs),
        "command": options.command,
        "objective": {"kind": judged.kind, "error_name": judged.error_name, "scale": judged.error_scale},
        "groups": {
            "names": list(data.group_names),
            "train_counts": data.counts(data.train),
            "test_counts": data.counts(data.test),
            "initial_proportions": training.method.proportions.tolist(),
        },
        "preparation_seconds": preparation_seconds,
        "history": [],
    }
    for row in training.epochs():
        record["history"].append(row)
        tell(row["train_seconds"])
    return record


class Worker:
    """A process that answers each run sent through ``pipe`` by its epochs and what ``execute`` says.

    It reads data once for many runs. A server that has imported torch and used nothing of it forks it: in a moment,
    and free to begin to use CUDA, as the fork of a process that has begun would not be.
    """

    def __init__(self, options: RunOptions) -> None:
        context = multiprocessing.get_context("forkserver")
        # The second is what an optimizer imports at its first step, which takes another two seconds.
        context.set_forkserver_preload(["experiments.execution", "torch._dynamo"])
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, options), daemon=True)
        # Ctrl-C goes to all processes of a terminal, but only the sweep's answers it. The tracker would be started with
        # the process, and unblock what is blocked here.
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
            pipe.send(execute(pipe.recv(), options, pipe.send))


def _end_with_parent() -> None:
    """Leave when the sweep's process is gone, however it ended: nobody would store what is trained here."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
