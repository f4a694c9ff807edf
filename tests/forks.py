"""Real processes, forked from a clean one that has imported everything: a second each, and none may hang.

Not from the process of the tests: that one may have threads by then, whose locks a fork would hold for ever.
"""

import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection, forkserver
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = ["pytest", "hypothesis", "pytorch_lightning", "lightning.fabric", "torchmetrics", "learn2mix"]
PRELOADED += ["ipykernel.kernelapp", "matplotlib.pyplot", "sklearn.datasets"]  # for kernels.py
PRELOADED += ["preloaded"]
CONTEXT.set_forkserver_preload(PRELOADED)

TIMEOUT = 120  # seconds for all processes together; one that hangs is killed and fails the test


@dataclass
class Outcome:
    """How a process ended: by its exit code, what its function returned, and what it raised."""

    code: int | None
    result: Any = None
    error: str = ""


def gloo(rank: int, world_size: int, folder: Path, timeout: float = 60.0) -> None:
    """Meet the other processes of a test."""
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", meet, timedelta(seconds=timeout), rank=rank, world_size=world_size)


def free_port() -> int:
    """A port that nobody listens on, and that the system gives to nobody who asks for any: those are higher."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as free:
            try:
                free.bind(("localhost", port))
            except OSError:
                continue
        return port


def start_server() -> None:
    """Start the clean process, if it does not run, so that it finds what the tests find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # Python 3.11 tells it nothing of sys.path
        forkserver.ensure_running()


def set_up_process() -> None:
    """Have loaders fork their workers, as users do; torch's, forked from a server, do not notice that a loop died."""
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)


def run(rank: int, pickled: bytes, folder: Path, environment: dict[str, str]) -> None:
    """Call a function in a new process and write down what comes of it."""
    os.environ.update(environment | {"OMP_NUM_THREADS": "1"})  # Lightning would take more
    set_up_process()
    code, outcome = 0, {"result": None, "error": ""}
    try:
        outcome["result"] = cloudpickle.loads(pickled)(rank)
    except BaseException as error:
        code, outcome["error"] = 1, f"{type(error).__name__}: {error}"
    torch.save(outcome, folder / f"outcome-{rank}.pt")
    os._exit(code)  # without the clean-up of a parent that is not this process


def outcomes(
    function: Callable[[int], Any],
    num_processes: int,
    folder: Path,
    *,
    lightning: bool = False,
    timeout: float = TIMEOUT,
) -> list[Outcome]:
    """Call ``function(rank)`` in processes that know of each other, and say how each ended.

    With ``lightning`` the environment is that of torchrun, so that a Trainer or Fabric finds its place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start_server()
    port, pickled, processes = free_port(), cloudpickle.dumps(function), []
    for rank in range(num_processes):
        environment = {"MASTER_ADDR": "localhost", "MASTER_PORT": f"{port}", "WORLD_SIZE": f"{num_processes}"}
        environment |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "TORCHELASTIC_RUN_ID": "test"}
        place = environment if lightning and num_processes > 1 else {}
        processes.append(CONTEXT.Process(target=run, args=(rank, pickled, folder, place)))
        processes[-1].start()
    deadline = time.monotonic() + timeout
    ended = []
    for rank, process in enumerate(processes):
        # Not join: that waits for the workers of a process that was killed, too.
        while process.exitcode is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            ended.append(Outcome(None, error="hung"))
            continue
        path = folder / f"outcome-{rank}.pt"
        ended.append(Outcome(process.exitcode, **(torch.load(path, weights_only=False) if path.exists() else {})))
        path.unlink(missing_ok=True)
    return ended


class Command:
    """A command in a forked process, in a process group of its own as a terminal makes one.

    Attributes:
        pid: of the process, and the number of its group.
    """

    def __init__(self, main: Callable[[], int], folder: Path) -> None:
        """Start it; what it writes to stderr goes to a file in the folder."""
        start_server()
        self._stderr = folder / "stderr.txt"
        self._process = CONTEXT.Process(target=run_command, args=(cloudpickle.dumps(main), self._stderr))
        self._process.start()
        self.pid = self._process.pid

    def wait(self) -> tuple[int | None, str]:
        """Its exit code and what it wrote to stderr; one that hangs is killed, and its code is None."""
        self._process.join(TIMEOUT)
        code = self._process.exitcode
        self._process.kill()
        return code, self._stderr.read_text(encoding="utf8")


def end_with_parent() -> None:
    """Leave when the process that started this one is gone."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def run_command(pickled: bytes, stderr: Path) -> None:
    """Be a command: its exit code is what its function returns. It ends where the tests do, however they end."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(stderr, os.O_CREAT | os.O_WRONLY), 2)
    set_up_process()
    code = cloudpickle.loads(pickled)()
    sys.stderr.flush()
    os._exit(code)


def results(function: Callable[[int], Any], num_processes: int, folder: Path, **settings: Any) -> list[Any]:
    """What the function returned in each process; all must have ended well."""
    ended = outcomes(function, num_processes, folder, **settings)
    assert [outcome.code for outcome in ended] == [0] * num_processes, [outcome.error for outcome in ended]
    return [outcome.result for outcome in ended]
