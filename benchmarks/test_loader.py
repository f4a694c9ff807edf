"""The zero-lag loader against the plain one, on samples that take 5 ms each to decode. Run with `make benchmark`.

Two mixes: one that holds still, and one that follows the losses at every step, where the zero-lag loader has to decode
what it had not foreseen. The lag is what `sampler.lag` says after an observation.
"""

import time

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler
from learn2mix.batches.loader import ZeroLagLoader

NUM_BATCHES, BATCH_SIZE = 30, 32
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 200))


class Slow(Dataset):
    """5 ms a sample, spent waiting, so that more workers help on any number of cores."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        time.sleep(0.005)
        return torch.full((3, 32, 32), float(LABELS[index]))


LOADERS = {
    "plain": lambda sampler, workers: DataLoader(
        Slow(), batch_sampler=sampler, num_workers=workers, persistent_workers=True
    ),
    "zero lag": lambda sampler, workers: ZeroLagLoader(Slow(), sampler, num_workers=workers),
}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.benchmark(group=f"{NUM_BATCHES} batches of {BATCH_SIZE}, 5 ms a sample")
@pytest.mark.parametrize("mix", ["fixed", "learn2mix"])
@pytest.mark.parametrize("num_workers", [2, 4])
@pytest.mark.parametrize("kind", LOADERS)
def test_epoch(benchmark, kind, num_workers, mix):
    mixer = FixedMix() if mix == "fixed" else Learn2Mix(0.1)
    sampler = MixedBatchSampler(LABELS, mixer, batch_size=BATCH_SIZE, num_batches=NUM_BATCHES)
    loader = LOADERS[kind](sampler, num_workers)
    lags = []

    def epoch():
        for batch in loader:
            sampler.observe(batch.mean((1, 2, 3)) + 0.1)
            lags.append(sampler.lag)

    benchmark.pedantic(epoch, rounds=3, warmup_rounds=1)
    benchmark.extra_info["largest_lag"] = max(lags)
    print(f"\n{kind}, {num_workers} workers, {mix}: largest lag {max(lags)}")
