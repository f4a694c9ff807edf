"""What batches cost at a million, a billion and a trillion samples. Run: python benchmarks/flat.py [labels]

By data set (K = 10 and 1,000): time to the first batch, steady batches of 1,000, memory above the start. With an
argument also by class, of so many labels: time to make the partition, what it keeps, its peak, and the same figures.
Read the ratios within one run: the machines are shared and noisy.
"""

import gc
import sys
import time

import numpy as np
import torch

from learn2mix import FixedMix, MixedBatchSampler, Partition

BATCH_SIZE, NUM_BATCHES = 1000, 600


class Sized:
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size


def memory(field="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


def batches(partition, before):
    began = time.perf_counter()
    sampler = MixedBatchSampler(
        partition, FixedMix("uniform"), batch_size=BATCH_SIZE, num_batches=10**9, order="grouped"
    )
    iterator = iter(sampler)
    next(iterator)
    first, times = time.perf_counter() - began, []
    for _ in range(NUM_BATCHES):
        began = time.perf_counter()
        next(iterator)
        times.append(time.perf_counter() - began)
    sampler.state_dict()
    least, median, mean = (1e6 * statistic(times) for statistic in (np.min, np.median, np.mean))
    print(
        f"first batch {1e3 * first:5.1f} ms | steady, microseconds: least {least:5.1f}, median {median:5.1f}, "
        f"mean {mean:5.1f} | {memory() - before:6.1f} MiB above the start"
    )


def by_class(num_samples, num_groups):
    labels = np.random.default_rng(0).integers(0, num_groups, num_samples, dtype=np.int16)
    gc.collect()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before, began = memory(), time.perf_counter()
    partition = Partition.by_class(labels)
    took = time.perf_counter() - began
    kept, peak = memory() - before, memory("VmHWM") - before
    print(
        f"N = {num_samples:.0e}, K = {num_groups:4d}, by class: {took:.2f} s, {kept:.0f} MiB kept, peak {peak:.0f} MiB"
    )
    batches(partition, before)


def main():
    torch.set_num_threads(1)
    batches(Partition.by_dataset([Sized(6000)] * 10), memory())  # loads what is loaded once
    for num_groups in (10, 1000):
        for num_samples in (10**6, 10**9, 10**12) * 2:
            before = memory()
            print(f"N = {num_samples:.0e}, K = {num_groups:4d}, by data set: ", end="")
            batches(Partition.by_dataset([Sized(num_samples // num_groups)] * num_groups), before)
    for num_groups in (10, 1000) if sys.argv[1:] else ():
        by_class(int(float(sys.argv[1])), num_groups)


if __name__ == "__main__":
    main()
