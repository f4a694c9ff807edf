"""Composing batches and building samplers, against torch's own. Run with `make benchmark`; nothing is asserted.

Read the ratio of the medians in one group of one run: the machines are shared and noisy.
"""

import tracemalloc

import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler

from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler

NUM_SAMPLES, BATCH_SIZE = 60_000, 1000


def consume(sampler):
    for _ in sampler:
        pass


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def labels(num_groups):
    return np.random.default_rng(0).integers(0, num_groups, NUM_SAMPLES)


@pytest.mark.benchmark(group="an epoch of 60 batches of 1000 from 60,000 samples", min_rounds=20)
class TestEpoch:
    def test_torch(self, benchmark):
        benchmark(consume, BatchSampler(RandomSampler(range(NUM_SAMPLES)), BATCH_SIZE, drop_last=True))

    @pytest.mark.parametrize("num_groups", [10, 1000])
    def test_fixed(self, benchmark, num_groups):
        benchmark(consume, MixedBatchSampler(labels(num_groups), FixedMix("uniform"), batch_size=BATCH_SIZE))

    @pytest.mark.parametrize("num_groups", [10, 1000])
    def test_learn2mix_observing_losses(self, benchmark, num_groups):
        sampler = MixedBatchSampler(labels(num_groups), Learn2Mix(), batch_size=BATCH_SIZE)
        losses = torch.rand(BATCH_SIZE)

        def epoch():
            for _ in sampler:
                sampler.observe(losses)

        benchmark(epoch)


@pytest.mark.benchmark(group="building a sampler for 10 million labels")
@pytest.mark.parametrize("num_groups", [10, 1000])
def test_build(benchmark, num_groups):
    many = np.random.default_rng(0).integers(0, num_groups, 10_000_000)
    benchmark.pedantic(MixedBatchSampler, (many, Learn2Mix()), {"batch_size": BATCH_SIZE}, rounds=3)
    tracemalloc.start()
    MixedBatchSampler(many, Learn2Mix(), batch_size=BATCH_SIZE)
    benchmark.extra_info["peak_bytes_per_sample"] = tracemalloc.get_traced_memory()[1] / len(many)
    tracemalloc.stop()
    print(f"\n{num_groups} groups: {benchmark.extra_info['peak_bytes_per_sample']:.1f} bytes a sample at the peak")
