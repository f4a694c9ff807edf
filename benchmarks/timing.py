"""Contenders take turns, and the fastest turn of each counts, in time that the process had a core.

All that is timed is busy on one thread, so on an idle machine that is the time on the wall. Where other work takes the
core away, that does not count; it still empties caches, which only ever adds to a turn. Taking turns gives every
contender the same share of the quiet moments, and the minimum picks one of them.
"""

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from experiments.execution import describe_environment

LEAST_ROUNDS = 3
seconds = time.process_time


def take_turns(turns: Mapping[str, Callable[[], float]], duration: float) -> dict[str, float]:
    """Return the least that each turn measured.

    Each contender has a turn that does not count, then all go round, in an order drawn anew, until the time is up and
    everyone has had three.
    """
    names, best = list(turns), dict.fromkeys(turns, float("inf"))
    random = np.random.default_rng(0)
    for turn in turns.values():
        turn()
    until, rounds = time.perf_counter() + duration, 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < until:
        for name in random.permutation(names).tolist():
            best[name] = min(best[name], turns[name]())
        rounds += 1
    return best


def microseconds_each(batches: Iterable[Any], num_batches: int, num_epochs: int = 1) -> float:
    """Run through some epochs of ``num_batches`` each, and return the time per batch."""
    gc.collect(0)
    gc.disable()  # as timeit does: a collection is paid by whoever happens to have the turn
    try:
        start = seconds()
        for _ in range(num_epochs):
            deque(batches, maxlen=0)
        return (seconds() - start) / (num_epochs * num_batches) * 1e6
    finally:
        gc.enable()


def describe_machine() -> dict[str, Any]:
    """Versions and hardware; and, where the system tells, the cores and the scheduling that the benchmark ran under."""
    found = {**describe_environment(), "threads": torch.get_num_threads()}
    if hasattr(os, "sched_getscheduler"):
        real_time = os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR)
        found["cores"] = sorted(os.sched_getaffinity(0))
        found["scheduling"] = "real-time" if real_time else "ordinary"
    return found
