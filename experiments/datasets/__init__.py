"""Data as tensors in memory, one path for every method; here data sets with classes, which are the groups, by name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from experiments.datasets.imbalance import cut
from experiments.datasets.splits import Data, Split
from experiments.libraries import np
from experiments.settings import NONE, Values


def load(
    root: Path, settings: Values, rng: np.random.Generator, *, name: str, rare: Collection[int] | None, again: bool
) -> Data:
    """A data set below the root, cut as the settings say; ``again`` makes the inputs what is to be predicted."""
    if name == "imdb":  # each imported for its own data, as the other needs other libraries
        from experiments.datasets.text import load_imdb

        source = load_imdb(root, settings["max_tokens"])
    else:
        from experiments.datasets.images import load_images

        source = load_images(root, name, settings.get("image_size", NONE))
    data = cut(source, settings, rng, rare)
    return replace(data, train=_again(data.train), test=_again(data.test)) if again else data


def _again(part: Split) -> Split:
    return replace(part, targets=part.inputs)
