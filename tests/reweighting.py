"""Data for ``ReweightedLoss``, and a criterion of which the losses are given."""

import numpy as np
import torch

from learn2mix import ReweightedLoss

LABELS = np.repeat([0, 1, 2], [12, 6, 2])
VALUES = torch.tensor(np.random.default_rng(0).uniform(0.5, 2, size=20) * (1 + LABELS))
PRIOR = [0.6, 0.3, 0.1]


def itself(losses):
    """A criterion of which the losses are given."""
    return losses


def drawn(seed=0):
    """One classical epoch: every sample once, in batches of 5."""
    return np.random.default_rng(seed).permutation(20).reshape(4, 5)


def make(mixer, **settings):
    return ReweightedLoss(itself, mixer, LABELS, **settings)


def call(criterion, batch):
    return criterion(VALUES[batch], groups=torch.from_numpy(LABELS[batch]))


BATCHES = [*drawn(0), *drawn(1), *drawn(2)]


def mixes(criterion, batches=BATCHES):
    """The loss and the mix after each batch."""
    return [(call(criterion, batch).item(), criterion.mixer.proportions.tolist()) for batch in batches]
