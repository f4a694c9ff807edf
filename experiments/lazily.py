"""Functions by their place, imported when they are called: what there is can be listed without torch."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(place: str, **options: Any) -> Callable[..., Any]:
    """A function that calls the one at ``place``, its module and name, with some more arguments.

    Example:
        >>> lazily("json:dumps", sort_keys=True)({"b": 2, "a": 1})
        '{"a": 1, "b": 2}'
    """

    def call(*args: Any) -> Any:
        module, _, name = place.partition(":")
        return getattr(import_module(module), name)(*args, **options)

    return call
