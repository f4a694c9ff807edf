"""Requests out, answers back: torch's loader is the carrier, and knows nothing of batches."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader

from learn2mix.batches.lock import Lock
from learn2mix.data.default_device import on_cpu
from learn2mix.workers.packing import SMALL, Packed
from learn2mix.workers.process import begin_worker


class Pipeline:
    """Sends requests to worker processes and returns their answers, in order, for as many epochs as it is kept.

    The workers live as long as this object: dropped, it ends them at once. Between two epochs they get requests for
    nothing.

    Args:
        reader: answers requests by ``reader[request]``; a copy of it goes to each worker.
        dataset: what ``get_worker_info().dataset`` is in the workers.
        num_workers: worker processes; 0 answers in this process.
        loader_args: what else ``DataLoader`` takes.
        rank: which of the processes that share each batch this is.
    """

    def __init__(self, reader: Any, dataset: Any, num_workers: int, loader_args: dict[str, Any], rank: int) -> None:
        self._requests, self._lock = _Requests(), Lock()
        if num_workers:
            user_init = loader_args.get("worker_init_fn")
            loader_args = loader_args | {"worker_init_fn": partial(begin_worker, dataset, rank, user_init)}
        answering = _Answering(reader, packs=num_workers > 0 and not loader_args.get("pin_memory"))
        self._loader: Any = DataLoader(
            answering,  # type: ignore[arg-type]
            batch_size=None,
            sampler=self._requests,
            num_workers=num_workers,
            collate_fn=as_it_is,
            **loader_args,
        )
        self._answers: Iterator[Any] | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._ended = False
        if not num_workers and not self._loader.pin_memory:  # nothing to carry
            self._answers = map(answering.__getitem__, self._requests)

    def feed(self, requests: Iterator[Any]) -> None:
        """Send these requests from now on; what is on its way still comes."""
        self._requests.current, self._requests.fed, self._requests.failure = requests, requests, None

    def answers(self, requests: Iterator[Any]) -> Iterator[Any]:
        """Send these requests, and return answers until all have come, or others are sent in the place of these."""
        with self._lock:
            self.feed(requests)
        while True:
            with self._lock:  # a thread that fetched ahead may still ask for more while the next epoch has begun
                if self._requests.fed is not requests or self._requests.done:
                    return
                answer = self.answer()
            if answer is not None:
                yield answer

    @property
    def alive(self) -> bool:
        """Whether it can answer: it was not closed, and no worker has died, as of Ctrl-C or for want of memory."""
        return not self._ended and all(worker.is_alive() for worker in self._workers)

    @property
    def _workers(self) -> Sequence[BaseProcess]:
        return getattr(self._answers, "_workers", ())

    def close(self) -> None:
        """End the workers, also where an error that is kept holds what waits for them; nothing is answered any more."""
        self._ended = True
        if self._end is not None:
            self._end()

    def answer(self) -> Any:
        """Return the next answer; None for a request for nothing.

        An error of the reader is raised; one of the requests once all before it are answered.

        Raises:
            RuntimeError: if the workers have ended; what they had on its way is lost.
        """
        if self._ended:
            raise RuntimeError(
                "MixedLoader: its worker processes have ended (one died, Ctrl-C, or close), and with them the batches "
                "on their way; begin a new iteration, which starts new ones"
            )
        if self._requests.failure is not None and self._requests.num_open == 0:
            failure, self._requests.failure = self._requests.failure, None
            raise failure
        if self._answers is None:
            with on_cpu():  # as spawned workers have it; forked ones cannot use a default device of CUDA
                self._answers = iter(self._loader)
            # Held by the finalizer, the iterator is whole when it ends its workers. Collected as part of a cycle (an
            # error with its traceback makes one), it would find its queues closed, and wait 5 s for each worker.
            self._end = weakref.finalize(self, _end_workers, self._answers, os.getpid())
        num_sent = getattr(self._answers, "_send_idx", None)  # torch sends a request for each answer that it takes
        try:
            answer = next(self._answers)
        except Exception as error:
            came = num_sent is None or getattr(self._answers, "_send_idx", None) != num_sent
            self._requests.num_open -= came  # else it is still to come, as after the timeout of the loader
            ends, torn = [worker.sentinel for worker in self._workers], isinstance(error, (OSError, EOFError))
            if torn and ends and connection.wait(ends, timeout=1):  # not the reader's: of a worker that is just ending
                self.close()
                raise RuntimeError("MixedLoader: a worker exited unexpectedly while its batch was read") from error
            if not self.alive or not (came or "timed out" in str(error)):  # it is lost, and would be waited for
                self.close()
            raise
        self._requests.num_open -= answer is not None
        return answer.unpack() if type(answer) is Packed else answer


class _Requests:
    """The iterator from which torch's loader takes what it sends to a worker; it never ends."""

    def __init__(self) -> None:
        self.current: Iterator[Any] | None = None
        self.fed: Iterator[Any] | None = None  # the same, also when it has ended
        self.num_open = 0  # requests sent and not answered
        self.failure: Exception | None = None  # of the requests, to be raised in its turn

    @property
    def done(self) -> bool:
        """Whether all requests are sent and answered."""
        return self.current is None and not self.num_open and self.failure is None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            request = None if self.current is None else next(self.current)
        except StopIteration:
            request = self.current = None
        except Exception as error:
            request, self.current, self.failure = None, None, error
        self.num_open += request is not None
        return request


class _Answering:
    """What torch's loader takes for map-style data: its indices are the requests."""

    def __init__(self, reader: Any, *, packs: bool) -> None:
        self._reader, self._packs = reader, packs

    def __getitem__(self, request: Any) -> Any:
        answer = None if request is None else self._reader[request]
        return Packed(answer) if self._packs and _is_small(answer) else answer


def _end_workers(answers: Any, owner: int) -> None:
    if os.getpid() != owner:  # in a worker of another loader, which was forked while this one was to be collected
        answers._shutdown = True
    elif hasattr(answers, "_shutdown_workers"):
        answers._shutdown_workers()


def as_it_is(answer: Any) -> Any:
    """Return what torch's loader is to leave as it is: a ``collate_fn``."""
    return answer


def _is_small(answer: Any) -> bool:
    """Whether it has tensors, all of them plain ones on the CPU, that are sent faster as bytes."""
    tensors = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, torch.Tensor)]
    plain = all(type(tensor) is torch.Tensor and tensor.device.type == "cpu" for tensor in tensors)
    return plain and 0 < sum(tensor.nbytes for tensor in tensors) <= SMALL
