"""One thread at a time, and no part of a compiled graph: what reads or moves the state of a sampler or stream."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from torch._compile import _disable_dynamo  # torch.compiler.disable, which would import the compiler at once

P = ParamSpec("P")
T = TypeVar("T")


class Lock(type(threading.RLock())):  # type: ignore[misc]
    """A lock that its thread may take again; a copy is free."""

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


@_disable_dynamo
def _untraced(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)
