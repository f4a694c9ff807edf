"""Strategies, scripted collaborators and the plain training loop that several test files use."""

import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from learn2mix import MixedBatchSampler, Mixer

NAN = float("nan")


def reset_default_device() -> None:
    """Make the default device the one it is at first; asked for it after a None, torch 2.4 raises an AttributeError."""
    torch.set_default_device(None)
    vars(torch._GLOBAL_DEVICE_CONTEXT).pop("device_context", None)


def messages(caught: list[warnings.WarningMessage]) -> list[str]:
    """What was warned of, but for Python's own words from 3.12 on at each fork of a process that has threads."""
    return [str(one.message) for one in caught if "is multi-threaded, use of fork()" not in str(one.message)]


shares = st.one_of(st.just(0.0), st.just(1.0), st.floats(1e-9, 1.0), st.floats(1e-300, 1e-9))


def normalised(weights: list[float]) -> np.ndarray:
    """Weights as a mix."""
    vector = np.array(weights, dtype=np.float64)
    return vector / vector.sum()


def mixes(num_groups: int) -> st.SearchStrategy[np.ndarray]:
    """Mixes of some groups, with zero, equal and tiny shares among them."""
    return st.lists(shares, min_size=num_groups, max_size=num_groups).filter(any).map(normalised)


def round_mixes(num_groups: int) -> st.SearchStrategy[np.ndarray]:
    """Mixes in multiples of 1/64: sums are exact, so ties are ties."""
    cuts = st.lists(st.integers(0, 64), min_size=num_groups - 1, max_size=num_groups - 1)
    return cuts.map(lambda points: np.diff([0, *sorted(points), 64]) / 64)


class Scripted(Mixer):
    """Gives the batches the mixes of a list, one after the other, whatever the losses are."""

    def __init__(self, script: Any) -> None:
        self.script = [np.array(mix, dtype=np.float64) for mix in script]

    def seek(self, batch: int, epoch: int) -> None:
        self.proportions = self.script[batch % len(self.script)]


def counts_of(batch: Any, labels: np.ndarray, num_groups: int) -> list[int]:
    """Samples of each group in a batch of indices."""
    return np.bincount(labels[np.asarray(batch)], minlength=num_groups).tolist()


def evenly_drawn(batches: Any, labels: Any) -> bool:
    """Whether, after each batch, no sample of a group has come two times more often than another of it."""
    labels = np.asarray(labels)
    drawn = np.zeros(len(labels), dtype=np.int64)
    for batch in batches:
        np.add.at(drawn, np.asarray(batch), 1)
        if any(np.ptp(drawn[labels == label]) > 1 for label in np.unique(labels)):
            return False
    return True


def through_a_file(state: Any) -> Any:
    """A state as it comes back from a file that is loaded safely."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same_state(one: Any, other: Any) -> bool:
    """Whether two states are equal, bit for bit; NaN equals NaN."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and one.allclose(other, 0, 0, equal_nan=True)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    return type(one) is type(other) and one == other


Step = tuple[list[int], list[float]]


def train(
    sampler: MixedBatchSampler, num_steps: int, losses: np.ndarray | None, *, num_workers: int = 0, **loader_args: Any
) -> list[Step]:
    """The plain loop: train on ``num_steps`` batches, over as many epochs as it takes; indices and mix of each.

    ``losses`` holds the loss of each sample of the data set; None observes nothing.
    """
    steps = stepping(sampler, losses, num_workers=num_workers, **loader_args)
    return [next(steps) for _ in range(num_steps)]


def stepping(
    sampler: MixedBatchSampler, losses: np.ndarray | None, *, num_workers: int = 0, **loader_args: Any
) -> Iterator[Step]:
    """The plain loop without an end; each item says that a batch was trained on."""
    data = range(sampler.partition.num_samples)
    loader = DataLoader(data, batch_sampler=sampler, num_workers=num_workers, **loader_args)  # type: ignore[arg-type]
    batch = True
    while batch is not None:
        batch = None
        for batch in loader:
            mix = sampler.mixer.proportions
            if losses is not None:
                sampler.observe(torch.from_numpy(losses[batch.numpy()]))
                assert sampler.last_observed is not None
                mix = sampler.last_observed.proportions
            yield batch.tolist(), mix.tolist()
    raise AssertionError("an epoch without a batch")
