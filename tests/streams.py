"""Sources whose samples tell where they come from, and the plain loop over a stream."""

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch

from learn2mix import MixedLoader, MixedStream

GROUP = 1_000_000  # sample n of group g is g * GROUP + n
MORE_WORKERS_THAN_CORES = "ignore:.*suggested max number of worker.*"


class Numbers:
    """Samples of one group, which can be iterated any number of times."""

    def __init__(self, group: int, size: int) -> None:
        self.group, self.size = group, size

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.group * GROUP, self.group * GROUP + self.size))


class Uneven(Numbers):
    """The same, but slow in a way that differs from worker to worker and from sample to sample."""

    def __iter__(self) -> Iterator[int]:
        worker = multiprocessing.current_process()._identity  # the process's, for a source does not see torch's
        for sample in super().__iter__():
            if worker and (sample + worker[-1]) % 5 == 0:
                time.sleep(0.004)
            yield sample


class Failing(Numbers):
    """The same, but fails after some samples."""

    def __init__(self, group: int, size: int, failing_at: int) -> None:
        super().__init__(group, size)
        self.failing_at = failing_at

    def __iter__(self) -> Iterator[int]:
        yield from islice(super().__iter__(), self.failing_at)
        raise OSError("disk on fire")


def sources(*sizes: int, kind: type[Numbers] = Numbers) -> dict[str, Numbers]:
    """Groups ``"a"``, ``"b"``, ... of these sizes."""
    return {"abcdefgh"[group]: kind(group, size) for group, size in enumerate(sizes)}


def groups_of(batch: torch.Tensor) -> np.ndarray:
    return batch.numpy() // GROUP


def losses_of(batch: torch.Tensor) -> torch.Tensor:
    """Losses that encode the group, and a little of the sample."""
    return 1.0 + (batch // GROUP) ** 2 + (batch % 7) / 10


def counts_of(batch: torch.Tensor, num_groups: int) -> list[int]:
    return np.bincount(groups_of(batch), minlength=num_groups).tolist()


def load(stream: MixedStream, num_workers: int = 0, **loader_args: Any) -> MixedLoader:
    return MixedLoader(stream, num_workers=num_workers, **loader_args)


@contextmanager
def opened(stream: MixedStream, num_workers: int) -> Iterator[Iterator[torch.Tensor]]:
    """An iterator whose workers end with the block."""
    loader = load(stream, num_workers)
    try:
        yield iter(loader)
    finally:
        loader.close()


Step = tuple[list[int], list[float]]


def train(stream: MixedStream, num_steps: int, num_workers: int = 0, **loader_args: Any) -> list[Step]:
    """Train on some batches of one iteration; samples and mix of each."""
    return list(islice(training(stream, num_workers, **loader_args), num_steps))


def training(stream: MixedStream, num_workers: int = 0, **loader_args: Any) -> Iterator[Step]:
    """The plain loop over one iteration; each item says that a batch was trained on."""
    for batch in load(stream, num_workers, **loader_args):
        stream.observe(losses_of(batch))
        assert stream.last_observed is not None
        yield batch.tolist(), stream.last_observed.proportions.tolist()
