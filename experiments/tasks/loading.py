"""From labelled data to a task's: cut the training part as the settings say, and turn it into tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import torch

from experiments.datasets.imbalance import NONE, choose_kept, shares_kept
from experiments.datasets.labelled import Labelled, Part
from experiments.datasets.splits import Data, Split
from experiments.settings import Values
from experiments.tasks.task import Loader

Reader = Callable[[Path, Values], Labelled]


def classes_of(read: Reader, *, rare: Collection[int] | None = None) -> Loader:
    """A loader for telling the classes apart, which are the groups; ``rare`` are those that "step" cuts."""

    def load(root: Path, settings: Values, rng: np.random.Generator) -> Data:
        source = read(root, settings)
        train = _cut(source, settings, rare, rng)
        return Data(_labelled_split(train), _labelled_split(source.test), source.class_names)

    return load


def images_again(read: Reader, *, rare: Collection[int] | None = None) -> Loader:
    """A loader for reconstructing the images, whose classes are the groups."""
    load_classes = classes_of(read, rare=rare)

    def load(root: Path, settings: Values, rng: np.random.Generator) -> Data:
        data = load_classes(root, settings, rng)
        train, test = (Split(part.inputs, part.inputs, part.groups) for part in (data.train, data.test))
        return Data(train, test, data.group_names)

    return load


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


def _labelled_split(part: Part) -> Split:
    labels = torch.from_numpy(part.labels)
    return Split(torch.from_numpy(part.inputs), labels, labels)
