"""A loader of indices, a mixer that keeps what it is told, and a loop that knows what it should have been told."""

import time
import warnings

import numpy as np
from torch.utils.data import DataLoader

from learn2mix import MixedBatchSampler, MixedLoader, Mixer

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [17, 9, 4]))
LOSSES = (1.0 + np.random.default_rng(1).random(30)) * (1 + 3.0 * LABELS)  # no two are the same
EPOCH = 6  # batches: 30 samples, 5 at a time
KINDS = ["plain, no workers", "plain, 2 workers", "mixed, no workers", "mixed, 2 workers"]


class Data:
    """Samples that are their indices."""

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return index


class Slow(Data):
    """One of them takes its time."""

    def __init__(self, index):
        self.index = index

    def __getitem__(self, index):
        if index == self.index:
            time.sleep(0.3)
        return index


class Heard(Mixer):
    """Keeps the losses of the groups that it is told of, batch by batch; a mix of its own."""

    needs_losses = True

    def __init__(self):
        self.told = []

    def due(self, num_batches, epoch_ended):
        return True

    def update(self, losses):
        self.told.append(losses.tolist())


def means_of(indices):
    """The true losses of the groups of a batch."""
    groups, losses = LABELS[indices], LOSSES[indices]
    return [losses[groups == group].mean() if (groups == group).any() else np.nan for group in range(3)]


class Loop:
    """A loader, and what should be credited; a loop calls it with a batch to observe it."""

    def __init__(self, loader, sampler):
        self.loader, self.sampler, self.true = loader, sampler, []

    def __call__(self, batch, known=True):
        self.sampler.observe(LOSSES[batch.numpy()] if known else None)
        if known:
            self.true.append(means_of(batch.numpy()))

    def check(self, num_observed):
        """All that was observed was credited to the groups that it is of."""
        assert len(self.true) == num_observed > 0
        np.testing.assert_allclose(self.sampler.mixer.told, self.true, rtol=1e-12)


def sampler_of(**settings):
    return MixedBatchSampler(LABELS, Heard(), **{"batch_size": 5, "seed": 3, **settings})


def make(kind, data=None, wrap=lambda sampler: sampler, **settings):
    sampler, num_workers = sampler_of(**settings), 2 if "2" in kind else 0
    if "plain" in kind:
        return Loop(DataLoader(data or Data(), batch_sampler=wrap(sampler), num_workers=num_workers), sampler)
    return Loop(MixedLoader(data or Data(), sampler, num_workers=num_workers), sampler)


def first_batches():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(sampler_of())


def by_hand(loop):
    batches = iter(loop.loader)
    while True:
        try:
            loop(next(batches))
        except StopIteration:
            return
