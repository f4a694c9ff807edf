"""Labelled data as they are read, and as a task has them: the training part cut as the settings say, in tensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from experiments.datasets.imbalance import choose_kept, shares_kept
from experiments.datasets.splits import Data, Split
from experiments.settings import NONE, Values


class Part(NamedTuple):
    """Inputs ``(N, ...)``, as uint8 images channels first, float32 features or int64 tokens; int64 labels ``(N,)``."""

    inputs: np.ndarray
    labels: np.ndarray


class Labelled(NamedTuple):
    """The training and the test part of a data set, with the names of its classes by their number."""

    train: Part
    test: Part
    class_names: tuple[str, ...]


def load(
    root: Path, settings: Values, rng: np.random.Generator, *, name: str, rare: Collection[int] | None, again: bool
) -> Data:
    """A data set by name, with its classes as the groups.

    Args:
        root: where data sets are.
        settings: of the run.
        rng: decides which samples are kept.
        name: of the data set.
        rare: the classes that "step" cuts; None for the upper half.
        again: whether the inputs are what is to be predicted, instead of the classes.
    """
    source = _read(root, name, settings)
    train = _cut(source, settings, rare, rng)
    return Data(_split(train, again=again), _split(source.test, again=again), source.class_names)


def _read(root: Path, name: str, settings: Values) -> Labelled:
    """Readers are imported for the data that they read: what another one needs need not be installed."""
    if name == "imdb":
        from experiments.datasets.imdb import load_imdb

        return load_imdb(root, settings["max_tokens"])
    if name == "imagenette":
        from experiments.datasets.imagenette import load_imagenette

        return load_imagenette(root, settings["image_size"])
    from experiments.datasets.images import load_images, load_mnist_5k

    return load_mnist_5k() if name == "mnist-5k" else load_images(root, name, settings.get("image_size", NONE))


def _cut(source: Labelled, settings: Values, rare: Collection[int] | None, rng: np.random.Generator) -> Part:
    """The samples kept of each class; tasks without ``per_class`` and ``class_order`` have neither."""
    imbalance, per_class = settings["imbalance"], settings.get("per_class", NONE)
    if imbalance == per_class == NONE:
        return source.train
    inputs, labels = source.train
    shares = shares_kept(imbalance, len(source.class_names), rare)
    if settings.get("class_order") == "seed":
        shares = rng.permutation(shares)
    kept = choose_kept(labels, shares, rng, None if per_class == NONE else per_class)
    return Part(inputs[kept], labels[kept])


def _split(part: Part, *, again: bool) -> Split:
    inputs, labels = torch.from_numpy(part.inputs), torch.from_numpy(part.labels)
    return Split(inputs, inputs if again else labels, labels)
