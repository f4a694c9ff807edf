"""A worker process of a loader: what it sees, its random numbers, the files that it reads, and its end."""

from __future__ import annotations

import os
import random
import stat
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import parent_process
from multiprocessing.queues import Queue
from multiprocessing.util import Finalize
from typing import Any

import numpy as np
import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import get_worker_info

from learn2mix.workers.answers import Answer
from learn2mix.workers.packing import Packed

OPEN_FILES = "/proc/self/fd"  # by number, on Linux; elsewhere workers are not forked


def begin_worker(dataset: Any, rank: int, user_init: Callable[[int], None] | None, worker_id: int) -> None:
    """Begin a worker, and show the user's data set to the user's ``worker_init_fn``, and to what else asks for it."""
    parent = parent_process()
    if parent is not None and parent.pid != os.getppid():  # of a fork server, which lives on as long as its workers
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    Finalize(None, _end_if_orphaned, (os.getppid(),), exitpriority=1)
    object.__setattr__(get_worker_info(), "dataset", dataset)
    _open_anew()
    Queue._on_queue_feeder_error = _send_failure  # type: ignore[attr-defined]
    if rank:
        _seed_apart(rank)
    if user_init is not None:
        user_init(worker_id)


def _open_anew() -> None:
    """Give this worker places of its own in the files that are open: it shares them with those it was forked with.

    Where a data set holds a file open, one worker would read where another has just gone to.
    """
    if not os.path.isdir(OPEN_FILES):
        return
    import fcntl  # Linux has it

    for number in map(int, os.listdir(OPEN_FILES)):
        with suppress(OSError):  # the list's own, or a file that may not be opened any more
            flags = fcntl.fcntl(number, fcntl.F_GETFL)
            if stat.S_ISREG(os.fstat(number).st_mode) and flags & os.O_ACCMODE == os.O_RDONLY:
                own = os.open(f"{OPEN_FILES}/{number}", flags)
                os.lseek(own, os.lseek(number, 0, os.SEEK_CUR), os.SEEK_SET)
                os.dup2(own, number, inheritable=os.get_inheritable(number))
                os.close(own)


def _send_failure(queue: Any, error: Exception, message: Any) -> None:
    """Send an error in the place of an answer that cannot be sent, for which the loop would wait for ever."""
    number, answer = message if isinstance(message, tuple) and len(message) == 2 else (None, None)
    if isinstance(answer, ExceptionWrapper):  # of a class that cannot be sent
        said = answer.exc_msg
    elif isinstance(answer, (Answer, Packed)):
        said = (
            f"a batch cannot be sent from a worker process: {type(error).__name__}: {error}; let it hold tensors, "
            "arrays and what else pickle.dumps takes, or use num_workers=0"
        )
    else:  # a message of the user's, on a queue of the user's
        traceback.print_exception(error)
        return
    failure = RuntimeError(f"MixedLoader: {said}")
    queue.put((number, ExceptionWrapper((RuntimeError, failure, error.__traceback__), "in a worker process")))


def _seed_apart(rank: int) -> None:
    """Let this worker draw other random numbers than those of other processes, all of which may be seeded alike."""
    info: Any = get_worker_info()
    seed = info.seed + rank * info.num_workers
    object.__setattr__(info, "seed", seed)
    random.seed(seed)
    torch.manual_seed(seed)
    np.random.seed(np.random.SeedSequence(seed).generate_state(4))


def _end_if_orphaned(parent: int) -> None:
    """End a worker whose loop was killed: it would wait for ever until somebody takes its last answers."""
    if os.getppid() != parent:
        os._exit(1)


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
