"""MixedLoader against torch's DataLoader around the same sampler: `python benchmarks/loader_epoch.py [WORKERS]`.

Seconds per epoch of 60 batches of 32 with samples that take 0, 0.2 and 5 ms, spent waiting; the loaders take turns, the
ratios are of the medians of five epochs. The last column is the throughput of zero_lag over that of MixedLoader.
"""

import sys
import time
import warnings
from statistics import median

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from learn2mix import FixedMix, MixedBatchSampler, MixedLoader

torch.set_num_threads(1)
warnings.simplefilter("ignore")
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 200))


class Slow(Dataset):
    """A sample of one image's size, after a wait."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        if self.seconds:
            time.sleep(self.seconds)
        return torch.full((3, 16, 16), float(LABELS[index]))


def epoch(loader, sampler):
    """Seconds for one epoch, all batches observed."""
    start = time.perf_counter()
    for _ in loader:
        sampler.observe(None)
    return time.perf_counter() - start


def loaders(data, num_workers):
    """The loaders by name, each with a sampler of its own, and workers that persist."""
    keep = {"persistent_workers": True} if num_workers else {}
    samplers = [MixedBatchSampler(LABELS, FixedMix("uniform"), batch_size=32, num_batches=60) for _ in range(3)]
    found = {
        "torch": (DataLoader(data, batch_sampler=samplers[0], num_workers=num_workers, **keep), samplers[0]),
        "mixed": (MixedLoader(data, samplers[1], num_workers=num_workers, **keep), samplers[1]),
    }
    if num_workers:
        found["zero lag"] = (MixedLoader(data, samplers[2], num_workers=num_workers, zero_lag=True), samplers[2])
    return found


if __name__ == "__main__":
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    for milliseconds in (0, 0.2, 5):
        of = loaders(Slow(milliseconds / 1000), workers)
        for loader in of.values():
            epoch(*loader)
        times = {name: [] for name in of}
        for _ in range(5):
            for name, loader in of.items():
                times[name].append(epoch(*loader))
        seconds = {name: median(values) for name, values in times.items()}
        shown = ", ".join(f"{name} {value:.3f} s" for name, value in seconds.items())
        zero_lag = f", zero lag's throughput {seconds['mixed'] / seconds['zero lag']:.2f}" if workers else ""
        ratio = seconds["mixed"] / seconds["torch"]
        print(f"{milliseconds} ms, {workers} workers: {shown}; mixed / torch {ratio:.2f}{zero_lag}")
