"""A step of the experiments' mnist, LeNet-5 in batches of 1000, on 1 and 2 threads.

Run `python -m benchmarks.experiment_epoch`. Learn2mix, updating every epoch and every step, against classical training
(the bar: at most 1.03 of its time), and against the same network and optimizer fed by torch's own `DataLoader`, sample
by sample (at most 0.9). The contenders take turns step by step, over whole epochs, in an order drawn anew each turn,
for the machines are shared and noisy; a ratio is of the medians. Wall-clock first, then the time that the process was
given a core.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from experiments.datasets import Data, Split
from experiments.errors import UserError
from experiments.execution import load_data
from experiments.methods import METHODS
from experiments.plan import plan
from experiments.tasks import TASKS
from experiments.training import Training

MNIST = TASKS["mnist"]
NUM_EPOCHS = 3
MIXED = ("learn2mix-epoch", "learn2mix-step")
PEERS = ("classical", "DataLoader")


def noise(size):
    labels = torch.randint(10, (size,))
    return Split(torch.randint(256, (size, 1, 28, 28), dtype=torch.uint8), labels, labels)


def load(run):
    """The real digits, or noise in their form where there are none."""
    try:
        return load_data(MNIST, run, Path(os.environ.get("LEARN2MIX_DATA", "data")))
    except UserError:
        return Data(noise(60_000), noise(10_000), tuple("0123456789"))


class LoaderTraining:
    """The loop that everybody writes, with nothing but the training in it."""

    def __init__(self, run, data):
        self.model = MNIST.model(data, run.settings)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=run.settings["lr"])
        dataset = TensorDataset(data.train.inputs, data.train.targets)
        self.loader = DataLoader(dataset, batch_size=run.settings["batch_size"], shuffle=True)

    def steps(self):
        self.model.train()
        for images, labels in self.loader:
            loss = F.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield


def endless(training):
    while True:
        yield from training.steps()


def seconds_of(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure(num_threads):
    """Print the table of one number of threads."""
    torch.set_num_threads(num_threads)
    first, *others = (plan(["mnist"], [method], 1, {})[0] for method in ("classical", *MIXED))
    data = load(first)
    contenders = {run.method: Training(run, MNIST, METHODS[run.method], data) for run in (first, *others)}
    num_steps = contenders["classical"].method.context.num_batches
    contenders["DataLoader"] = LoaderTraining(first, data)
    steps = {name: endless(training) for name, training in contenders.items()}
    rng, seconds = np.random.default_rng(), {name: [] for name in contenders}
    for _ in range((1 + NUM_EPOCHS) * num_steps):
        for name in rng.permutation(list(contenders)).tolist():
            seconds[name].append(seconds_of(lambda name=name: next(steps[name])))
    # The first epoch warms up.
    epochs = {name: np.array(rows).reshape(-1, num_steps, 2)[1:] for name, rows in seconds.items()}
    print(f"\n{NUM_EPOCHS} epochs of {num_steps} steps, {num_threads} thread(s): wall-clock (processor)")
    for name, table in epochs.items():
        wall, cpu = 1000 * np.median(table, axis=(0, 1))
        print(f"  {name:15} {wall:6.1f} ms ({cpu:6.1f} ms) a step")
    for peer in PEERS:
        for name in MIXED:
            wall, cpu = np.median(epochs[name], axis=(0, 1)) / np.median(epochs[peer], axis=(0, 1))
            print(f"  {name} takes {wall:.3f} ({cpu:.3f}) of {peer}")


if __name__ == "__main__":
    for number in (1, 2):
        measure(number)
