"""Who trains the runs of a sweep: this process, or several others side by side.

A crew is given runs while it has hands free, and tells what happens to them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Protocol

from experiments.execution import Conditions, Event, Failed, Finished, execute
from experiments.runs import Run

# How long a worker that was told to end may take before it is made to.
PATIENCE_SECONDS = 5


class Crew(Protocol):
    """Trains runs; a context manager that leaves nothing running behind."""

    @property
    def has_room(self) -> bool:
        """Whether another run can be started."""

    @property
    def is_busy(self) -> bool:
        """Whether a run is being trained."""

    def start(self, run: Run, prerequisite: dict[str, Any] | None) -> None:
        """Begin to train a run."""

    def next_events(self) -> list[tuple[Run, Event]]:
        """Wait until something happens, and tell it."""

    def __enter__(self) -> Crew:
        """Get ready."""

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Stop whatever is still being trained."""


def hire(conditions: Conditions) -> Crew:
    """The crew for a sweep's number of jobs; one job needs no process of its own."""
    return Solo(conditions) if conditions.jobs == 1 else Team(conditions)


class Solo:
    """Trains in this process, one run at a time."""

    def __init__(self, conditions: Conditions) -> None:
        """Start nothing yet."""
        self._conditions = conditions
        self._current: tuple[Run, Iterator[Event]] | None = None

    @property
    def has_room(self) -> bool:
        """Whether no run is being trained."""
        return self._current is None

    @property
    def is_busy(self) -> bool:
        """Whether a run is being trained."""
        return self._current is not None

    def start(self, run: Run, prerequisite: dict[str, Any] | None) -> None:
        """Make a run the current one."""
        self._current = run, execute(run, self._conditions, prerequisite)

    def next_events(self) -> list[tuple[Run, Event]]:
        """Train the current run to its next event."""
        assert self._current is not None
        run, events = self._current
        event = next(events)
        if isinstance(event, Finished | Failed):
            self._current = None
        return [(run, event)]

    def __enter__(self) -> Solo:
        """Nothing to get ready."""
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Forget the run at hand."""
        self._current = None


class Team:
    """Trains in worker processes, as many runs at a time as there are jobs.

    A worker that dies costs the run it was training, which counts as failed; another one takes its place.
    """

    def __init__(self, conditions: Conditions) -> None:
        """Start no process before there is a run for it."""
        self._conditions = conditions
        self._idle: list[Worker] = []
        self._busy: dict[Connection, tuple[Worker, Run]] = {}

    @property
    def has_room(self) -> bool:
        """Whether fewer runs are being trained than there are jobs."""
        return len(self._busy) < self._conditions.jobs

    @property
    def is_busy(self) -> bool:
        """Whether a run is being trained."""
        return bool(self._busy)

    def start(self, run: Run, prerequisite: dict[str, Any] | None) -> None:
        """Give a run to an idle worker, or to a new one."""
        worker = self._idle.pop() if self._idle else Worker(self._conditions)
        self._busy[worker.connection] = worker, run
        worker.give(run, prerequisite)

    def next_events(self) -> list[tuple[Run, Event]]:
        """Wait for the workers, and take an event from each that has one."""
        return [self._take(connection) for connection in wait(list(self._busy))]

    def _take(self, connection: Connection) -> tuple[Run, Event]:
        worker, run = self._busy[connection]
        event = worker.receive()
        if isinstance(event, Finished | Failed):
            del self._busy[connection]
            if worker.is_alive:
                self._idle.append(worker)
        return run, event

    def __enter__(self) -> Team:
        """Nothing to get ready."""
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        """End all workers, at once even in the middle of a run: what they were at is not stored."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.end()


class Worker:
    """A process that trains one run after the other.

    It is told a run's names and settings, not the run: tasks and methods hold functions that cannot be sent.

    Attributes:
        connection: ready to be read when the worker has something to tell, or has died.
        is_alive: False from when the death was noticed.
    """

    def __init__(self, conditions: Conditions) -> None:
        """Start the process: a fresh one, as a forked copy of torch's threads may hang."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.is_alive = True
        self._process = context.Process(target=_work, args=(theirs, conditions), daemon=True)
        with _interrupts_blocked():
            self._process.start()
        # Else the end of the worker would not be the end of its connection.
        theirs.close()

    def give(self, run: Run, prerequisite: dict[str, Any] | None) -> None:
        """Send a run; a worker that died while it was idle is noticed when it is listened to."""
        with suppress(BrokenPipeError):
            self.connection.send((run.names, prerequisite))

    def receive(self) -> Event:
        """What the worker tells next; its death is the failure of its run."""
        try:
            event: Event = self.connection.recv()
        except (EOFError, ConnectionError):
            return self._bury()
        return event

    def end(self) -> None:
        """Kill the process and wait until it is gone."""
        self._process.terminate()
        self._process.join(PATIENCE_SECONDS)
        self._process.kill()
        self._process.join()
        self.connection.close()

    def _bury(self) -> Failed:
        self.is_alive = False
        self._process.join(PATIENCE_SECONDS)
        code = self._process.exitcode
        self.end()
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return Failed(f"its worker process was killed by {name}{hint}", "")
        return Failed(f"its worker process ended with exit code {code}", "")


def _work(connection: Connection, conditions: Conditions) -> None:
    """What a worker does until it is ended: receive a run, send its events."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # They mean that nobody listens any more.
    with suppress(EOFError, ConnectionError):
        while True:
            names, prerequisite = connection.recv()
            for event in execute(Run.from_names(names, conditions.data_root), conditions, prerequisite):
                connection.send(event)


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
