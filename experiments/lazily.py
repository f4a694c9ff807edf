"""Functions by their place, imported when they are called: what there is can be listed without torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(place: str, **options: Any) -> Callable[..., Any]:
    """A function that calls the one at ``place`` with some more arguments.

    Args:
        place: its module and name.
        options: arguments by name, added to those of each call.

    Example:
        >>> lazily("json:dumps", sort_keys=True)({"b": 2, "a": 1})
        '{"a": 1, "b": 2}'
    """

    def call(*args: Any) -> Any:
        module, _, name = place.partition(":")
        return getattr(import_module(module), name)(*args, **options)

    return call
