"""Attributes of what is made of parts: those that it is made with refuse what would have no effect, or a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any


def settled(name: str, doc: str) -> Any:
    """Return a property that cannot be set once ``_name`` is: what was made of it would stay as it was."""

    def refuse(self: Any, value: Any) -> None:
        kind = type(self).__name__
        raise AttributeError(f"{kind}: {name} cannot be set once the {kind} is made; make a new one with this {name}")

    return property(attrgetter(f"_{name}"), refuse, doc=doc)


def passed_on(path: str, doc: str) -> Any:
    """Return a property that reads what a part has; annotate it, for a type checker sees nothing of it."""
    return property(attrgetter(path), doc=doc)


def checked(name: str, check: Callable[[Any, str], Any], doc: str) -> Any:
    """Return a property that may be set, to what a check returns."""

    def put(self: Any, value: Any) -> None:
        setattr(self, f"_{name}", check(value, name))

    return property(attrgetter(f"_{name}"), put, doc=doc)
