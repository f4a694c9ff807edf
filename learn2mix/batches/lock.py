"""One thread at a time, and no part of a compiled graph: what reads or moves the state of a sampler or stream."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch._compile import _disable_dynamo  # torch.compiler.disable, which would import the compiler at once

P = ParamSpec("P")
T = TypeVar("T")


class Lock(type(threading.RLock())):  # type: ignore[misc]
    """A lock that its thread may take again; a copy is free.

    Attributes:
        broken: whether a call that had it was broken off, as by Ctrl-C, in the middle of whatever it changed.
    """

    broken = False

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and not issubclass(kind, Exception):
            self.broken = True
        self.release()

    def __reduce__(self) -> Any:
        return Lock, ()


def locked(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Let a method run while no other thread has the lock of its object, ``_lock``: a loop may fetch in a thread.

    Called in a function that ``torch.compile`` traces it runs as it is, between two graphs.
    """

    @wraps(method)
    def holding(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            result: T = _untraced(holding, self, *args, **kwargs)
            return result
        with self._lock:
            return method(self, *args, **kwargs)

    return holding


def snapshot(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Let a method be as :func:`locked`, and warn if it would tell of what is changed by half."""

    @wraps(method)
    def taking(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._lock.broken or self._lock._is_owned():  # this thread has it: then a signal handler asks
            warnings.warn(
                f"{type(self).__name__}: its state is taken in the middle of a batch that is composed or observed (in "
                "a signal handler, or after Ctrl-C), so a run that goes on from it may have this batch twice, or not "
                "at all, or count its losses twice; let a handler only note the signal, and save after the step",
                stacklevel=3,
            )
            self._lock.broken = False
        with self._lock:
            return method(self, *args, **kwargs)

    return taking


@_disable_dynamo
def _untraced(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
