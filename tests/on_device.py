"""A run on a device and what it has to be, for the tests that need a CUDA device.

LEARN2MIX_TEST_DEVICE=cpu runs them on the CPU, so that a mistake in the tests themselves is found without a device.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import Dataset

import reference
from learn2mix import Learn2Mix, MixedBatchSampler

DEVICE = os.environ.get("LEARN2MIX_TEST_DEVICE", "cuda")
ON_CUDA = DEVICE == "cuda"
LATE = int(ON_CUDA)  # batches by which an update is later than on the CPU
MARKS = [
    pytest.mark.filterwarnings("default"),  # what others warn of on a device is theirs
    pytest.mark.filterwarnings("error::UserWarning:learn2mix"),
]

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [24, 10, 6]))
PRIOR = [0.6, 0.25, 0.15]
EPOCH = 8  # batches: 40 samples, 5 at a time

Step = tuple[list[float], list[int]]  # of a batch: the mix that it was composed at, the samples of each group


class Data(Dataset):
    """Samples that are their indices, made as most are: a tensor and a number."""

    def __len__(self) -> int:
        return len(LABELS)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(np.array([index])), int(LABELS[index])


def loss_of(step: int, group: int, place: int) -> float:
    """Exact in every type."""
    return 0.5 * (group + 1) + 0.125 * (place % 4) + 0.25 * (step % 5)


def of_group(step: int, group: int, place: int = 0) -> float:
    """The same for every sample of a group."""
    return 0.5 * (group + 1) + 0.25 * (step % 5)


def make_sampler(every: Any = "step", **settings: Any) -> MixedBatchSampler:
    mixer = Learn2Mix(0.3, every=every)
    return MixedBatchSampler(LABELS, mixer, **{"batch_size": 5, "order": "grouped", "seed": 3, **settings})


def put(losses: list[float], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(losses, dtype=dtype, device="cpu").to(DEVICE)


def observe(sampler: Any, losses: list[float], labels: np.ndarray) -> None:
    """As a plain loop does."""
    sampler.observe(put(losses))


def indices_of(batch: Any) -> list[int]:
    first = batch[0] if isinstance(batch, (list, tuple)) else batch
    return first.flatten().tolist() if isinstance(first, torch.Tensor) else list(batch)


def run(
    sampler: Any, loader: Any, stop: int, first: int = 0, *, observe: Any = observe, loss_of: Any = loss_of
) -> list[Step]:
    """Train on the batches from ``first`` up to ``stop``, whatever the ends of epochs."""
    trace: list[Step] = []
    while first < stop:
        for batch in loader:
            labels = LABELS[indices_of(batch)]
            losses = [loss_of(first, group, place) for place, group in enumerate(labels.tolist())]
            observe(sampler, losses, labels)
            trace.append((sampler.last_observed.proportions.tolist(), np.bincount(labels, minlength=3).tolist()))
            first += 1
            if first == stop:
                break
    return trace


def expected(num_epochs: int = 3, *, lag: int = LATE, loss_of: Any = loss_of, **settings: Any) -> list[Step]:
    """What slow, obvious Python makes of the same losses, known one batch later on an accelerator."""
    settings = {"batch_size": 5, "num_batches": EPOCH, "mixing_rate": 0.3, **settings}
    return reference.train(PRIOR, loss_of, num_epochs=num_epochs, lag=lag, **settings)


def check(trace: list[Step], wanted: list[Step]) -> None:
    assert [counts for _, counts in trace] == [counts for _, counts in wanted]
    np.testing.assert_allclose([mix for mix, _ in trace], [mix for mix, _ in wanted], rtol=0, atol=1e-12)


class Told(Learn2Mix):
    """Keeps the losses that it is told."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.told: list[list[float]] = []

    def update(self, losses: Any, info: Any = None) -> None:
        self.told.append(losses.tolist())
        super().update(losses, info)


def check_told(mixer: Told, truth: list[tuple[torch.Tensor, torch.Tensor]], prior: Any, rtol: float = 1e-6) -> None:
    """The mixer heard the true losses of the groups of each batch, in order, and moved by them.

    ``truth`` holds the labels and the losses of each batch, copied when they were computed.
    """
    means, mix = [], list(prior)
    for labels, losses in truth:
        pairs = list(zip(labels.tolist(), losses.double().tolist(), strict=True))
        means.append([np.nan if mean is None else mean for mean in reference.pooled_means(pairs, len(prior))])
        mix = reference.update_proportions(mix, means[-1], mixer.mixing_rate)
    assert len(means) > 0
    np.testing.assert_allclose(mixer.told, means, rtol=rtol)
    np.testing.assert_allclose(mixer.proportions, mix, rtol=10 * rtol)


def in_processes(function: Callable[..., Any], num_processes: int, folder: Path, *args: Any) -> list[Any]:
    """What a function returns in new processes: spawned, for CUDA does not outlive a fork."""
    context = torch.multiprocessing.get_context("spawn")
    started = [
        context.Process(target=_in_process, args=(function, rank, num_processes, folder, args))
        for rank in range(num_processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(100)
        process.kill()
    assert [process.exitcode for process in started] == [0] * num_processes
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(num_processes)]


def _in_process(function: Callable[..., Any], rank: int, num_processes: int, folder: Path, args: Any) -> None:
    torch.save(function(rank, num_processes, folder, *args), folder / f"{rank}.pt")


def trains_in_a_group(rank: int, num_processes: int, folder: Path, backend: str) -> Any:
    """A run of 16 samples a batch over all processes; then losses that are NaN on the first: what each raises."""
    dist.init_process_group(backend, f"file://{folder}/meet", rank=rank, world_size=num_processes)
    if ON_CUDA:
        torch.cuda.set_device(0)
    sampler = make_sampler(batch_size=16 // num_processes, num_batches=EPOCH)
    trace = run(sampler, sampler, 2 * EPOCH, loss_of=of_group)
    raised, batches = [], iter(sampler)
    for step in range(2):
        labels = LABELS[next(batches)]
        try:
            sampler.observe(put([float("nan") if rank == step == 0 else 1.0] * len(labels)))
        except ValueError as error:
            raised.append(str(error))
    dist.destroy_process_group()
    return trace, raised


def counts_on_all(traces: list[list[Step]]) -> list[list[int]]:
    """Samples of each group in the global batches."""
    return [np.sum([counts for _, counts in steps], axis=0).tolist() for steps in zip(*traces, strict=True)]
