"""Samplers of other libraries that balance classes: each as an iterable over the batches of an epoch.

All but torch's own are optional: `pip install -e ".[benchmark-peers]"`. One that draws samples singly is batched by
torch's `BatchSampler`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, Sampler, SubsetRandomSampler, WeightedRandomSampler

if TYPE_CHECKING:
    from benchmarks.composing import Shape


@dataclass(frozen=True)
class Peer:
    """A sampler, the package to install for it, and how to make it; `make` raises an ImportError without it."""

    name: str
    package: str
    make: Callable[[Shape], Iterable[Any]]


def in_batches(sampler: Sampler[int], shape: Shape) -> Iterable[list[int]]:
    return BatchSampler(sampler, shape.batch_size, drop_last=True)


def weighted(shape: Shape) -> Iterable[list[int]]:
    counts = np.bincount(shape.labels, minlength=shape.num_groups)
    return in_batches(WeightedRandomSampler(1.0 / counts[shape.labels], shape.num_samples), shape)


class TakesDataSource:
    """The end of a line of constructors, for those that still give torch's `Sampler` a data source."""

    def __init__(self, data_source: Any) -> None:
        pass


def catalyst(shape: Shape) -> Iterable[list[int]]:
    from catalyst.data.sampler import BalanceClassSampler

    class Balanced(BalanceClassSampler, TakesDataSource):
        """As catalyst wrote it; newer versions of torch refuse its constructor."""

    return in_batches(Balanced(shape.labels.tolist(), shape.num_samples // shape.num_groups), shape)


def metric_learning(shape: Shape) -> Iterable[list[int]]:
    from pytorch_metric_learning.samplers import MPerClassSampler

    size = shape.batch_size
    # The fewest samples a class with which the classes fill a batch, without a remainder.
    m = next(m for m in range(1, size + 1) if size % m == 0 and m * shape.num_groups >= size)
    return in_batches(MPerClassSampler(shape.labels, m, size, length_before_new_iter=shape.num_samples), shape)


def torchsampler(shape: Shape) -> Iterable[list[int]]:
    from torchsampler import ImbalancedDatasetSampler

    return in_batches(ImbalancedDatasetSampler(shape.labels, labels=shape.labels.tolist()), shape)


class Nodes:
    """torchdata's weighted nodes: a node for each group, in batches."""

    def __init__(self, shape: Shape) -> None:
        from torchdata.nodes import Batcher, Loader, MultiNodeWeightedSampler, SamplerWrapper, StopCriteria

        members = np.split(np.argsort(shape.labels, kind="stable"), np.cumsum(np.bincount(shape.labels))[:-1])
        sources = {
            str(group): SamplerWrapper(SubsetRandomSampler(torch.from_numpy(indices).tolist()))
            for group, indices in enumerate(members)
        }
        node = MultiNodeWeightedSampler(sources, dict.fromkeys(sources, 1.0), StopCriteria.CYCLE_FOREVER)
        self.batches = iter(Loader(Batcher(node, shape.batch_size)))  # endless
        self.num_batches = shape.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        return islice(self.batches, self.num_batches)


PEERS = (
    Peer("torch WeightedRandomSampler", "torch", weighted),
    Peer("catalyst BalanceClassSampler", "catalyst", catalyst),
    Peer("torchdata weighted nodes", "torchdata", Nodes),
    Peer("pytorch-metric-learning MPerClassSampler", "pytorch-metric-learning", metric_learning),
    Peer("torchsampler ImbalancedDatasetSampler", "torchsampler", torchsampler),
)
