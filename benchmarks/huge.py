"""From a million to a billion samples: time to the first batch, time of a steady one, and memory (on Linux).

Each size has a fresh process, so that memory is its own. It is warmed up with 20 samples; all after that counts:
making the partition, the sampler, the first batch. What is not done within the limit is given up, and its row says so.
"""

import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from benchmarks import timing
from benchmarks.rows import Row
from benchmarks.timing import microseconds_each, take_turns
from learn2mix import FixedMix, MixedBatchSampler, Partition

MEASURE = "size"
BATCH_SIZE, STEADY_BATCHES, ENDLESS = 1000, 50, 10**9
BASE = 10**6  # the size that others are compared with
SIZES, CLASS_SIZES, GROUPS = (10**6, 10**7, 10**8, 10**9), (10**7, 10**8), (10, 1000)
LIMIT = 20  # seconds

FIRST, STEADY, MEMORY = "by data set: first batch", "by data set: steady batch", "by data set: memory"
BUILD, CLASS_FIRST, KEPT = "by class: build", "by class: first batch", "by class: memory kept"
UNITS = {FIRST: "ms", STEADY: "µs a batch", MEMORY: "MB", BUILD: "s", CLASS_FIRST: "ms", KEPT: "MB"}
NAMES = {"dataset": (FIRST, STEADY, MEMORY), "class": (BUILD, CLASS_FIRST, KEPT)}


def measure(
    sizes: Sequence[int] = SIZES,
    class_sizes: Sequence[int] = CLASS_SIZES,
    groups: Sequence[int] = GROUPS,
    limit: int = LIMIT,
) -> list[Row]:
    """Rows of every size and number of groups, by data set and by class."""
    cases = [("dataset", num_groups, size) for num_groups in groups for size in sizes]
    cases += [("class", num_groups, size) for num_groups in groups for size in class_sizes]
    return [row for case in cases for row in _in_a_process(*case, limit)]


def _in_a_process(kind: str, num_groups: int, num_samples: int, limit: int) -> list[Row]:
    command = [sys.executable, "-m", "benchmarks.huge", kind, str(num_groups), str(num_samples), str(limit)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    if done.returncode not in (0, -signal.SIGPROF):
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    found = json.loads(done.stdout) if done.returncode == 0 else {}
    note, nothing = ("", None) if found else (f"not done in {limit} s", (None, None))
    rows = []
    for name in NAMES[kind]:
        value, ratio = nothing or found[name]
        rows.append(Row(MEASURE, name, num_groups, BATCH_SIZE, num_samples, value, UNITS[name], ratio, note))
    return rows


Figures = dict[str, tuple[float, float | None]]  # value and ratio by name


def by_dataset(num_groups: int, num_samples: int, limit: int) -> Figures:
    """Groups that are whole data sets, of even sizes."""
    start = memory("VmRSS")
    first, batches = best_of(lambda: first_batch(datasets_of(num_groups, num_samples)), limit)
    run(batches)
    used = memory("VmHWM") - start
    _, others = first_batch(datasets_of(num_groups, BASE))
    turns = {"this": partial(run, batches), "base": partial(run, others)}
    best = take_turns(turns, duration=1.0)
    return {FIRST: (1e3 * first, None), STEADY: (best["this"], best["this"] / best["base"]), MEMORY: (used, None)}


def by_class(num_groups: int, num_samples: int, limit: int) -> Figures:
    """Groups told by a label for each sample; the labels are there before, and count for nobody."""
    labels = np.random.default_rng(0).integers(num_groups, size=num_samples)
    start = memory("VmRSS")
    build, partition = best_of(lambda: timed(lambda: Partition.by_class(labels)), limit)
    kept = memory("VmRSS") - start
    first, _ = best_of(lambda: first_batch(lambda: partition), limit)
    return {BUILD: (build, None), CLASS_FIRST: (1e3 * first, None), KEPT: (kept, None)}


def datasets_of(num_groups: int, num_samples: int) -> Callable[[], Partition]:
    """How to make the partition of as many data sets, of even sizes."""
    datasets = [range(num_samples // num_groups)] * num_groups
    return lambda: Partition.by_dataset(datasets)


def first_batch(make_partition: Callable[[], Partition]) -> tuple[float, Iterator[list[int]]]:
    """Seconds from nothing to the first batch, and an iterator over those after it."""

    def make() -> Iterator[list[int]]:
        sampler = MixedBatchSampler(make_partition(), FixedMix("uniform"), batch_size=BATCH_SIZE, num_batches=ENDLESS)
        batches = iter(sampler)
        next(batches)
        return batches

    return timed(make)


def timed(make: Callable[[], object]) -> tuple[float, object]:
    """Seconds on the wall, for a process's time on a core goes by jumps while the limit's timer runs."""
    start = time.perf_counter()
    made = make()
    return time.perf_counter() - start, made


def best_of(attempt: Callable[[], tuple[float, object]], limit: int, most: int = 5, enough: float = 2.0):
    """The least seconds of some attempts, as many as fit into 2 s, and what the last made; the limit ends the process.

    What an attempt made is gone before the next begins, so that memory is that of one.
    """
    best, made, begun = float("inf"), None, timing.seconds()
    for _ in range(most):
        made = None
        gc.collect()
        signal.setitimer(signal.ITIMER_PROF, limit)
        seconds, made = attempt()
        signal.setitimer(signal.ITIMER_PROF, 0)
        best = min(best, seconds)
        if timing.seconds() - begun > enough:
            break
    return best, made


def run(batches: Iterator[list[int]]) -> float:
    """Microseconds per batch of the next ones."""
    return microseconds_each(islice(batches, STEADY_BATCHES), STEADY_BATCHES)


def memory(field: str) -> float:
    """Megabytes that the process has in memory now, `VmRSS`, or had at most, `VmHWM`; as the kernel tells them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status: no line {field}; memory is measured on Linux only")


def main(kind: str, num_groups: int, num_samples: int, limit: int) -> None:
    """Print the figures of one size as JSON."""
    torch.set_num_threads(1)
    run(first_batch(datasets_of(2, 20))[1])  # imports and caches are not what is asked for
    Path("/proc/self/clear_refs").write_text("5")  # so that VmHWM begins anew
    of_kind = {"dataset": by_dataset, "class": by_class}[kind]
    print(json.dumps(of_kind(num_groups, num_samples, limit)))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
