"""Where runs are trained: in this process, one at a time, or in several others side by side.

One job needs no process: nothing has to start, and a debugger sees the training. Several are processes that train one
run after the other, so that data that are read once serve many runs. They are forked from a server that has imported
torch and used nothing of it, which takes a moment each, where a fresh interpreter takes seconds; and each of them may
begin to use CUDA, as a fork of a process that has begun could not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from experiments.execution import Conditions, Outcome, Tell, execute
from experiments.run import Run

# How long a worker that was told to end may take before it is made to.
PATIENCE_SECONDS = 5


class Here:
    """Trains in this process: a run is over when it is submitted."""

    def __init__(self, conditions: Conditions) -> None:
        self._conditions = conditions

    def submit(self, run: Run, prerequisite: dict[str, Any] | None, tell: Tell) -> Future[Outcome]:
        """Train a run."""
        future: Future[Outcome] = Future()
        future.set_result(execute(run, self._conditions, prerequisite, tell))
        return future

    def end(self) -> None:
        """Leave nothing running: there is nothing."""


class Workers:
    """Trains in processes, as many runs at a time as there are jobs.

    A process that dies costs the run that it was training, which counts as failed; another one takes its place.
    """

    def __init__(self, conditions: Conditions) -> None:
        """Start no process before there is a run for it."""
        self._conditions = conditions
        self._threads = ThreadPoolExecutor(conditions.jobs)
        self._idle: list[Worker] = []
        self._all: list[Worker] = []

    def submit(self, run: Run, prerequisite: dict[str, Any] | None, tell: Tell) -> Future[Outcome]:
        """Begin to train a run as soon as a process is free; ``tell`` is called in another thread."""
        return self._threads.submit(self._train, run, prerequisite, tell)

    def _train(self, run: Run, prerequisite: dict[str, Any] | None, tell: Tell) -> Outcome:
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = Worker(self._conditions)
            self._all.append(worker)
        try:
            outcome = worker.train(run, prerequisite, tell)
        except (EOFError, OSError):
            return Outcome(None, worker.end())
        self._idle.append(worker)
        return outcome

    def end(self) -> None:
        """End all processes, at once even in the middle of a run: what they were at is not stored."""
        for worker in self._all:
            worker.process.terminate()
        for worker in self._all:
            worker.end()
        self._threads.shutdown()


class Worker:
    """A process that trains one run after the other.

    Attributes:
        process: that trains.
    """

    def __init__(self, conditions: Conditions) -> None:
        """Start the process."""
        has_server = "forkserver" in multiprocessing.get_all_start_methods()  # Windows has none
        context = multiprocessing.get_context("forkserver") if has_server else multiprocessing.get_context("spawn")
        context.set_forkserver_preload(["experiments.execution"])
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, conditions), daemon=True)
        with _interrupts_blocked():
            self.process.start()
        # Else the end of the process would not be the end of its connection.
        theirs.close()

    def train(self, run: Run, prerequisite: dict[str, Any] | None, tell: Tell) -> Outcome:
        """Have a run trained.

        Raises:
            EOFError, OSError: if the process has died.
        """
        self._connection.send((run, prerequisite))
        while not isinstance(message := self._connection.recv(), Outcome):
            tell(*message)
        return message

    def end(self) -> str:
        """Make sure that the process is gone, and say how it ended."""
        self.process.join(PATIENCE_SECONDS)
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        if code >= 0:
            return f"its worker process ended with exit code {code}"
        name = signal.Signals(-code).name
        return f"its worker process was killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"


def _work(connection: Connection, conditions: Conditions) -> None:
    """What a worker does until it is ended: receive a run, tell its epochs and its outcome."""
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(epoch: int, seconds: float) -> None:
        connection.send((epoch, seconds))

    # They mean that nobody listens any more.
    with suppress(EOFError, ConnectionError):
        while True:
            run, prerequisite = connection.recv()
            connection.send(execute(run, conditions, prerequisite, tell))


def _end_with_parent() -> None:
    """Leave when the sweep's process is gone, however it ended: nobody would store what is trained here."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: it goes to all of a terminal's, but only the sweep's answers it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # It would be started with the first process, and unblock what is blocked here.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
