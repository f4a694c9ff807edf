"""One thread at a time: a loop may fetch in one, while it trains and observes in another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Lock(type(threading.RLock())):  # type: ignore[misc]
    """A lock that its thread may take again; a copy is free."""

    def __reduce__(self) -> Any:
        return Lock, ()


def locked(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Let a method run while no other thread has the lock of its object, ``_lock``."""

    @wraps(method)
    def holding(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self._lock:
            return method(self, *args, **kwargs)

    return holding
