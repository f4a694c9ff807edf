"""MixedLoader, with zero lag and without, against torch's DataLoader around the same sampler.

Run `python benchmarks/loader_epoch.py [WORKERS]`, and alone: `chrt -f 10` before it gives steadier figures.

For each kind of sample, size of batch and mix, the loaders take turns in epochs of 40 batches; Learn2Mix observes noisy
losses, so that its mix moves at every step. Printed are milliseconds per batch of torch's loader, as wall time and as
CPU time of the main process, and the ratios of the medians of the epochs. A wait counts as decoding that needs no core.
"""

import sys
import time
import warnings
from statistics import median

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader

torch.set_num_threads(1)
warnings.simplefilter("ignore")
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 1000))
NUM_BATCHES, NUM_EPOCHS = 40, 5
SMALL, IMAGE, LARGE = (16,), (3, 16, 16), (3, 224, 224)
SETTINGS = [  # shape of a sample, milliseconds of waiting for it, batch_size
    *((SMALL, wait, 32) for wait in (0, 0.2, 1, 5)),
    (SMALL, 0, 256),
    (SMALL, 0.2, 256),
    *((IMAGE, wait, 32) for wait in (0, 0.2, 5)),
    (LARGE, 0, 32),
]


class Samples(Dataset):
    """Tensors of one shape and their labels, each after a wait."""

    def __init__(self, shape, milliseconds):
        self.shape, self.seconds = shape, milliseconds / 1000

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        if self.seconds:
            time.sleep(self.seconds)
        return torch.full(self.shape, float(index)), int(LABELS[index])


def epoch(loader, sampler):
    """Seconds per batch of one epoch, all batches observed: wall time, and CPU time of this process."""
    noise = torch.rand(512)
    wall, cpu = time.perf_counter(), time.process_time()
    for _, labels in loader:
        noise = noise.roll(7)
        sampler.observe(noise[: len(labels)] * (1 + labels))
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]) / NUM_BATCHES


def loaders(data, mixer, batch_size, num_workers):
    """The loaders by name, each with a sampler of its own, and workers that persist."""
    keep = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    samplers = [MixedBatchSampler(LABELS, mixer(), batch_size=batch_size, num_batches=NUM_BATCHES) for _ in range(3)]
    found = {
        "torch": (DataLoader(data, batch_sampler=samplers[0], **keep), samplers[0]),
        "mixed": (MixedLoader(data, samplers[1], **keep), samplers[1]),
    }
    if num_workers:
        found["zero lag"] = (MixedLoader(data, samplers[2], zero_lag=True, **keep), samplers[2])
    return found


def measure(data, mixer, batch_size, num_workers):
    """Median wall and CPU seconds per batch, by loader."""
    of = loaders(data, mixer, batch_size, num_workers)
    for loader in of.values():
        epoch(*loader)
    times = {name: [] for name in of}
    for _ in range(NUM_EPOCHS):
        for name, loader in of.items():
            times[name].append(epoch(*loader))
    return {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in times.items()}


if __name__ == "__main__":
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    print(f"{workers} workers                       | torch, ms a batch | mixed / torch | zero lag / torch | zero lag")
    print("sample        wait  batch  mix        |     wall      CPU |   wall    CPU |    wall     CPU  | / mixed ")
    for shape, milliseconds, batch_size in SETTINGS:
        for mixer in (FixedMix, Learn2Mix):
            seconds = measure(Samples(shape, milliseconds), mixer, batch_size, workers)
            torch_s, mixed = seconds["torch"], seconds["mixed"]
            zero = seconds.get("zero lag", [float("nan")] * 2)
            print(
                f"{'x'.join(map(str, shape)):12} {milliseconds:>5}  {batch_size:>5}  {mixer.__name__:10} "
                f"| {1000 * torch_s[0]:8.2f} {1000 * torch_s[1]:8.2f} "
                f"| {mixed[0] / torch_s[0]:6.2f} {mixed[1] / torch_s[1]:6.2f} "
                f"| {zero[0] / torch_s[0]:7.2f} {zero[1] / torch_s[1]:7.2f}  | {zero[0] / mixed[0]:7.2f}",
                flush=True,
            )
