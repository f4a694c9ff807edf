"""What the mix costs a step on one process and on two: composing a batch, the all-reduce, moving the mix.

Run ``python -m benchmarks.processes``. Each figure is over all steps of one run of gloo processes on this machine.
``all-reduce alone`` is, in the same processes, one of as many numbers after as long a pause as a step of one process
takes: what the network, the scheduler and the other process cost without us. On a machine with other work, ``chrt -f
10`` before the command keeps that out (as root).
"""

import time
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

from learn2mix import Learn2Mix, MixedBatchSampler

NUM_SAMPLES, BATCH_SIZE, NUM_STEPS, WARM_UP = 200_000, 256, 2000, 50


def seconds(function, pause=0.0):
    """How long each of many calls takes, with a busy pause before it."""
    times = []
    for _ in range(NUM_STEPS):
        until = time.perf_counter() + pause
        while (began := time.perf_counter()) < until:
            pass
        function()
        times.append(time.perf_counter() - began)
    return times[WARM_UP:]


def measure(rank, num_processes, num_groups, pause, folder):
    torch.set_num_threads(1)
    if num_processes > 1:
        meet = f"file://{folder}/meet"
        dist.init_process_group("gloo", meet, timedelta(seconds=60), rank=rank, world_size=num_processes)
    labels = np.random.default_rng(0).integers(0, num_groups, NUM_SAMPLES)
    sampler = MixedBatchSampler(labels, Learn2Mix(0.1), batch_size=BATCH_SIZE // num_processes, num_batches=NUM_STEPS)
    batches, losses = iter(sampler), torch.rand(BATCH_SIZE // num_processes)

    def step():
        next(batches)
        sampler.observe(losses)

    times = {"step": seconds(step)}
    if num_processes > 1:
        table = torch.zeros(2 * num_groups + 2, dtype=torch.float64)
        times["all-reduce alone"] = seconds(lambda: dist.all_reduce(table), pause)
    if rank == 0:
        torch.save(times, folder / "times.pt")


def print_step(num_groups, folder):
    """Print the figures of one number of groups."""
    pause = 0.0
    for num_processes in (1, 2):
        meeting = folder / f"{num_groups}-{num_processes}"
        meeting.mkdir()
        arguments = (num_processes, num_groups, pause, meeting)
        start_processes(measure, arguments, num_processes, start_method="fork")
        results = torch.load(meeting / "times.pt", weights_only=True)
        pause = float(np.median(results["step"]))
        for name, times in results.items():
            mean, median, late = 1e3 * np.mean(times), 1e3 * np.median(times), 1e3 * np.quantile(times, 0.95)
            print(
                f"{num_groups:6d} groups, {num_processes} process(es), {name}: "
                f"mean {mean:.3f} ms, median {median:.3f} ms, 95% below {late:.3f} ms"
            )


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        for number in (10, 10_000):
            print_step(number, Path(temporary))
