"""Workers of all processes draw random numbers of their own, also where every process is seeded alike.

Scripts for many processes seed each with the same number, and torch's workers take their seeds from that: the same
augmentations would come on each (huggingface/transformers#37932, Lightning-AI/pytorch-lightning#6960).
"""

import itertools
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info

from learn2mix import FixedMix, MixedBatchSampler, MixedLoader, MixedStream

LABELS = [0] * 20 + [1] * 20


def draws(_=None):
    """What a transform may draw from, and what it may seed a generator of its own with."""
    return [random.random(), np.random.rand(), torch.rand(()).item(), float(get_worker_info().seed % 2**32)]


class Augmented:
    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return draws()


def sampler_of(rank):
    return MixedBatchSampler(LABELS, FixedMix(), batch_size=5, num_replicas=2, rank=rank)


def of_a_stream(rank):
    sources = {"a": itertools.repeat(0), "b": itertools.repeat(1)}
    return MixedStream(sources, FixedMix([0.5, 0.5]), batch_size=5, decode_fn=draws, num_replicas=2, rank=rank)


KINDS = {
    "sampler": lambda rank: MixedLoader(Augmented(), sampler_of(rank), num_workers=2),
    "zero lag": lambda rank: MixedLoader(Augmented(), sampler_of(rank), num_workers=2, zero_lag=True),
    "stream": lambda rank: MixedLoader(of_a_stream(rank), num_workers=2),
}


def drawn(loader, num_batches=4):
    torch.manual_seed(0)  # as every process does
    batches = list(itertools.islice(loader, num_batches))
    return [{value for batch in batches for value in batch[kind].tolist()} for kind in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_no_worker_draws_what_one_of_another_process_draws(kind):
    for first, second in zip(drawn(KINDS[kind](0)), drawn(KINDS[kind](1)), strict=True):
        assert first.isdisjoint(second)


def test_the_first_process_draws_what_torch_s_loader_would():
    torchs = DataLoader(Augmented(), batch_sampler=sampler_of(0), num_workers=2)
    assert drawn(KINDS["sampler"](0)) == drawn(torchs)


def test_a_seed_that_the_user_sets_is_kept():
    def seed(worker_id):
        random.seed(worker_id)
        np.random.seed(worker_id)

    def loader(rank):
        return MixedLoader(Augmented(), sampler_of(rank), num_workers=2, worker_init_fn=seed)

    assert drawn(loader(0))[:2] == drawn(loader(1))[:2]
