"""Microseconds of a training step of small networks, so that the cost of mixing has something to be beside."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.models import lenet5, mlp
from benchmarks.rows import Row
from benchmarks.timing import microseconds_each, take_turns

MEASURE = "training step"
MLP, LENET = "MLP 784-64-10", "LeNet-5"
NETWORKS: dict[str, Callable[[], nn.Module]] = {MLP: mlp, LENET: lenet5}


class Step:
    """A step on a batch of digits that is there already, as an iterable over one."""

    def __init__(self, make: Callable[[], nn.Module], batch_size: int) -> None:
        self.model = make()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        self.images, self.labels = torch.rand(batch_size, 1, 28, 28), torch.randint(10, (batch_size,))

    def __iter__(self) -> Iterator[None]:
        loss = F.cross_entropy(self.model(self.images), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        yield


def measure(batch_sizes: Sequence[int] = (8, 32, 128, 1000), duration: float = 1.5) -> list[Row]:
    """A row for each network and batch size."""
    rows = []
    for batch_size in batch_sizes:
        for name, make in NETWORKS.items():
            step = partial(microseconds_each, Step(make, batch_size), num_batches=1)
            value = take_turns({name: step}, duration)[name]
            rows.append(Row(MEASURE, name, 0, batch_size, batch_size, value, "µs a step"))
    return rows
