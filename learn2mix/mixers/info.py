"""What a mixer is told besides the losses."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from learn2mix.checks import Counts, Vector


class MixInfo(NamedTuple):
    """Where the run is when a mixer is asked to move; all arrays have the shape ``(num_groups,)`` and are read-only.

    Attributes:
        counts: samples that the losses are of (the sum of their weights, where the loop gives weights), float64; zeros
            in :meth:`Mixer.seek`, which has no losses.
        proportions: the mean mix that was asked of the batches observed since the last update; in ``seek`` the mix that
            was asked of the batch before.
        draws: samples drawn of each group, over all processes, up to the batch observed last; in ``seek`` in all
            batches composed before. int64.
        sizes: samples that each group has; NaN where that is not known.
        batch_size: samples per batch, over all processes.
        num_updates: updates before this one.
    """

    counts: Vector
    proportions: Vector
    draws: Counts
    sizes: Vector
    batch_size: int
    num_updates: int


def call(method: Callable[..., Any], *arguments: Any, info: MixInfo | None = None) -> None:
    """Call a method of a rule, with ``info`` if it takes it; a TypeError if it returns its mix: it never moves."""
    if not takes_info(method, num_others=len(arguments)):
        returned = method(*arguments)
    elif _parameters(getattr(method, "__func__", method))[1]:
        returned = method(*arguments, info=info)
    else:
        returned = method(*arguments, info)
    if returned is not None:
        name = getattr(method, "__qualname__", repr(method))
        raise TypeError(
            f"{name} returned a {type(returned).__name__}, which nobody takes; a rule assigns its mix: "
            "self.proportions = ..., and returns nothing"
        )


def takes_info(method: Callable[..., Any], num_others: int) -> bool:
    """Whether a method takes a :class:`MixInfo` after its other arguments; rules written before it existed do not.

    Example:
        >>> takes_info(lambda losses: None, 1), takes_info(lambda losses, info: None, 1)
        (False, True)
    """
    function = getattr(method, "__func__", method)
    num_positional, by_name = _parameters(function)
    return by_name or num_positional - (function is not method) > num_others


@lru_cache(maxsize=64)
def _parameters(function: Callable[..., Any]) -> tuple[float, bool]:
    """Return how many positional parameters a function has, and whether it takes ``info`` by its name alone."""
    parameters = inspect.signature(function).parameters.values()
    kinds = [parameter.kind for parameter in parameters]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    by_name = any(each.name == "info" and each.kind is inspect.Parameter.KEYWORD_ONLY for each in parameters)
    return float("inf") if inspect.Parameter.VAR_POSITIONAL in kinds else sum(map(kinds.count, positional)), by_name
