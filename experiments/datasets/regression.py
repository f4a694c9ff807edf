"""The data of the paper's regressions; the groups are what a text column or the source of a sample says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from experiments.datasets.imbalance import choose_kept, shares_kept
from experiments.datasets.splits import Data, Split
from experiments.datasets.tables import load_housing, load_wine
from experiments.settings import Values

DRAWS = 10

_Draw = Callable[[np.random.Generator, np.ndarray, tuple[int, int]], np.ndarray]

# Each: the range of the means, and how draws with the means (N, 1) are made.
DISTRIBUTIONS: dict[str, tuple[tuple[float, float], _Draw]] = {
    "normal": ((0, 1), lambda rng, mean, shape: rng.normal(mean, 1.0, shape)),
    "exponential": ((0, 1), lambda rng, mean, shape: rng.exponential(mean, shape)),
    "chi-squared": ((0, 1), lambda rng, mean, shape: rng.chisquare(mean, shape)),
    "uniform": ((20, 50), lambda rng, mean, shape: rng.uniform(mean - 10, mean + 10, shape)),
}


def draw_samples(distribution: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``size`` samples of ten numbers each, float32, with the mean that each was drawn with."""
    (low, high), draw = DISTRIBUTIONS[distribution]
    means = rng.uniform(low, high, size=(size, 1))
    return draw(rng, means, (size, DRAWS)).astype(np.float32), means[:, 0].astype(np.float32)


TRAIN_SIZES = {"normal": 1000, "exponential": 1000, "chi-squared": 800, "uniform": 200}
TEST_SIZES = dict.fromkeys(TRAIN_SIZES, 1000)


def _split(features: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> Split:
    return Split(
        torch.from_numpy(features.astype(np.float32)),
        torch.from_numpy(targets.astype(np.float32)),
        torch.from_numpy(groups.astype(np.int64)),
    )


def _draw_split(sizes: Mapping[str, int], rng: np.random.Generator) -> Split:
    parts = [draw_samples(name, size, rng) for name, size in sizes.items()]
    features, means = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _split(features, means, np.repeat(np.arange(len(sizes)), list(sizes.values())))


def mean_estimation(_root: Path, _settings: Values, rng: np.random.Generator) -> Data:
    """Draw the training and the test samples anew for each seed."""
    return Data(_draw_split(TRAIN_SIZES, rng), _draw_split(TEST_SIZES, rng), tuple(DISTRIBUTIONS))


def wine_quality(root: Path, settings: Values, rng: np.random.Generator) -> Data:
    """The quality of red and white wines; "step" cuts the white ones."""
    table = load_wine(root)
    return _halves(
        features=table.drop(columns=["quality", "wine"]),
        targets=table["quality"],
        group_names=table["wine"],
        rare=["white"],
        imbalance=settings["imbalance"],
        rng=rng,
    )


def california_housing(root: Path, settings: Values, rng: np.random.Generator) -> Data:
    """The median value of a block's houses in 100,000 dollars, without gaps and islands; "step" cuts all but inland."""
    table = load_housing(root).dropna()
    table = table[table["ocean_proximity"] != "ISLAND"]
    return _halves(
        features=table.drop(columns=["median_house_value", "ocean_proximity"]),
        targets=table["median_house_value"],
        group_names=table["ocean_proximity"],
        rare=["<1H OCEAN", "NEAR BAY", "NEAR OCEAN"],
        imbalance=settings["imbalance"],
        rng=rng,
    )


def _halves(
    features: pd.DataFrame,
    targets: pd.Series,
    group_names: pd.Series,
    *,
    rare: Sequence[str],
    imbalance: str,
    rng: np.random.Generator,
) -> Data:
    """Half of a table for training, stratified by its groups; then this half's groups are cut."""
    names, groups = np.unique(group_names, return_inverse=True)
    train, test = train_test_split(
        np.arange(len(targets)), test_size=0.5, stratify=groups, random_state=int(rng.integers(2**32))
    )
    # The authors scale by all rows; we leave the test half out of it.
    scaled = StandardScaler().fit(features.iloc[train]).transform(features)
    shares = shares_kept(imbalance, len(names), np.flatnonzero(np.isin(names, rare)))
    train = train[choose_kept(groups[train], shares, rng)]
    train_part, test_part = (_split(scaled[part], targets.to_numpy()[part], groups[part]) for part in (train, test))
    return Data(train_part, test_part, tuple(names.tolist()))
