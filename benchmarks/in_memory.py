"""Data in memory, from torchvision's class to batches and epochs: `python benchmarks/in_memory.py [ROOT]`.

Ratios to loops that index the tensors by hand, `x[idx], y[idx]` along a shuffled index; the last column of the first
table is to the fastest gather that torch has, `index_select`. The sides take turns, in an order drawn anew; a time is
the minimum over the turns. One thread. ROOT is where torchvision finds MNIST (else $LEARN2MIX_DATA); without it the
digits are noise. Bars: batches of 1,000 at most 1.1 of the loop by hand, epochs of LeNet-5 1.02 and of the MLP 1.05.
"""

import os
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import MNIST

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader
from learn2mix.data import InMemory

ROOT = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LEARN2MIX_DATA", "data")
BATCH_SIZES, NUM_TURNS, NUM_TURNS_TRAINING = (1000, 32), 15, 4


def digits():
    try:
        data = MNIST(ROOT)
        return data, data.data[:, None], data.targets
    except RuntimeError:
        images, labels = torch.randint(256, (60_000, 1, 28, 28), dtype=torch.uint8), torch.randint(10, (60_000,))
        return TensorDataset(images, labels), images, labels


DATA, IMAGES, LABELS = digits()


def sampler_of(batch_size, mixer):
    return MixedBatchSampler(LABELS, mixer, batch_size=batch_size)


def by_hand(batch_size):
    for index in torch.randperm(len(LABELS)).split(batch_size):
        yield IMAGES[index], LABELS[index]


def by_index_select(batch_size):
    for index in torch.randperm(len(LABELS)).split(batch_size):
        yield IMAGES.index_select(0, index), LABELS.index_select(0, index)


def loaders(batch_size):
    """What gives batches, by name; each is called for an epoch."""
    plain = TensorDataset(IMAGES, LABELS)
    mixed = MixedLoader(InMemory.of(DATA), sampler_of(batch_size, FixedMix()))
    by_torch = DataLoader(InMemory.of(DATA), batch_sampler=sampler_of(batch_size, FixedMix()))
    return {
        "by hand": lambda: by_hand(batch_size),
        "index_select": lambda: by_index_select(batch_size),
        "MixedLoader(InMemory)": lambda: mixed,
        "DataLoader(InMemory, batch_sampler)": lambda: by_torch,
        "DataLoader(TensorDataset, shuffle)": lambda: DataLoader(plain, batch_size=batch_size, shuffle=True),
    }


def minima(epochs, num_turns):
    """Seconds of an epoch of each side, the least of the turns, and the number of batches in it."""
    rng, seconds, counts = np.random.default_rng(), {name: [] for name in epochs}, {}
    for _ in range(num_turns):
        for name in rng.permutation(list(epochs)).tolist():
            start = time.perf_counter()
            counts[name] = sum(1 for _ in epochs[name]())
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times) / counts[name] for name, times in seconds.items()}


def show_batches(batch_size):
    times = minima(loaders(batch_size), NUM_TURNS if batch_size > 100 else 4)
    print(f"batches of {batch_size:4}                          us a batch  of by hand  of index_select")
    for name, seconds in times.items():
        print(f"  {name:36} {1e6 * seconds:10.0f}  {seconds / times['by hand']:10.2f}", end="")
        print(f"  {seconds / times['index_select']:15.2f}")


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def training(make, batches, observe):
    """A function that trains for an epoch and yields at each step; the batches are bytes, as in both loops."""
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.Adam(model.parameters())

    def epoch():
        for images, labels in batches():
            losses = F.cross_entropy(model(images.float().div_(255)), labels, reduction="none")
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            observe(losses.detach())
            yield

    return epoch


def show_epochs(make, bar):
    fixed, moving = (sampler_of(1000, mixer) for mixer in (FixedMix(), Learn2Mix(0.1)))
    data = InMemory.of(DATA)
    fixed_loader, moving_loader = MixedLoader(data, fixed), MixedLoader(data, moving)
    sides = {
        "by hand": training(make, lambda: by_hand(1000), lambda losses: None),
        "fixed mix": training(make, lambda: fixed_loader, lambda losses: None),
        "Learn2Mix, observed": training(make, lambda: moving_loader, moving_loader.observe),
    }
    times = minima(sides, NUM_TURNS_TRAINING)
    print(f"epochs of {make.__name__}, batches of 1000 (bar {bar})   ms a step  of by hand")
    for name, seconds in times.items():
        print(f"  {name:36} {1e3 * seconds:10.2f}  {seconds / times['by hand']:10.3f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for batch_size in BATCH_SIZES:
        show_batches(batch_size)
    show_epochs(mlp, 1.05)
    show_epochs(lenet5, 1.02)
