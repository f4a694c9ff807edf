"""Microseconds per batch of a stream: 10 sources of whole numbers, batches of 32.

`python benchmarks/stream_batch.py [WORKERS]` prints the median of seven runs of 1,000 batches. Run it with two versions
of the library on PYTHONPATH, in turns, for a ratio.
"""

import sys
import time
import warnings
from itertools import islice
from statistics import median

import torch
from torch.utils.data import DataLoader

import learn2mix

torch.set_num_threads(1)
warnings.simplefilter("ignore")


class Numbers:
    """An endless enough source that can only be iterated."""

    def __iter__(self):
        return iter(range(10**9))


def load(num_workers):
    """A loader of a new stream, by the library's own loader where it has one."""
    mixer = learn2mix.FixedMix("uniform")
    stream = learn2mix.MixedStream([Numbers() for _ in range(10)], mixer, batch_size=32)
    if hasattr(learn2mix, "MixedLoader"):
        return learn2mix.MixedLoader(stream, num_workers=num_workers)
    return DataLoader(stream, batch_size=None, num_workers=num_workers)


def run(num_workers, num_batches=1000):
    """Microseconds per batch."""
    batches = iter(load(num_workers))
    for _ in islice(batches, 50):
        pass
    start = time.perf_counter()
    for _ in islice(batches, num_batches):
        pass
    return (time.perf_counter() - start) / num_batches * 1e6


if __name__ == "__main__":
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    print(round(median(run(workers) for _ in range(7)), 1))
