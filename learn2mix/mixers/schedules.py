"""Annealing schedules: progress in [0, 1] to a value in [0, 1], as plain functions."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]


def linear(progress: float) -> float:
    """Go at an even pace: the value is the progress."""
    return progress


def cosine(progress: float) -> float:
    """Begin and end slowly: ``(1 - cos(pi progress)) / 2`` (Foreman, 2025).

    Example:
        >>> [round(cosine(t / 4), 3) for t in range(5)]
        [0.0, 0.146, 0.5, 0.854, 1.0]
    """
    return (1 - math.cos(math.pi * progress)) / 2


SCHEDULES: dict[str, Schedule] = {"linear": linear, "cosine": cosine}


def find_schedule(schedule: str | Schedule) -> Schedule:
    """Return a schedule by its name, or the function itself, once it is seen to stay in [0, 1] at 101 points."""
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            known = ", ".join(map(repr, SCHEDULES))
            raise ValueError(f"schedule must be one of {known} or a function of progress, got {schedule!r}")
        return SCHEDULES[schedule]
    if not callable(schedule) or isinstance(schedule, type):
        raise TypeError(f"schedule must be a name or a function of progress, got {type(schedule).__name__}")
    for percent in range(101):  # now, and not hours into the run
        evaluate(schedule, percent / 100)
    return schedule


def evaluate(schedule: Schedule, progress: float) -> float:
    """Return ``schedule(progress)``; a TypeError if it is no number, a ValueError if it is NaN or outside [0, 1]."""
    given = schedule(progress)
    try:
        value = float(given)
    except (TypeError, ValueError):
        raise TypeError(f"schedule must give a number in [0, 1], got {given!r} at progress {progress:.4g}") from None
    if not 0 <= value <= 1:
        raise ValueError(f"schedule must stay in [0, 1], got {value} at progress {progress:.4g}")
    return value


def describe(schedule: Schedule) -> str:
    """Return a schedule's name as a state holds it; of a function of the user's also some values, for names repeat.

    Example:
        >>> describe(cosine)
        'cosine'
        >>> describe(lambda progress: progress**2)
        '<lambda> through 0.0625, 0.25, 0.5625'
    """
    for name, known in SCHEDULES.items():
        if schedule is known:
            return name
    name = getattr(schedule, "__qualname__", type(schedule).__name__).rpartition("<locals>.")[2]
    return f"{name} through {', '.join(f'{evaluate(schedule, quarter / 4):.6g}' for quarter in (1, 2, 3))}"
