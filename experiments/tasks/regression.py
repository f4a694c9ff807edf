"""The paper's regression tasks; the groups are what a text column or the source of a sample says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from experiments.datasets.splits import Data, Split, keep_share
from experiments.datasets.synthetic import DISTRIBUTIONS, draw_samples
from experiments.datasets.tables import load_wine
from experiments.models import two_layer
from experiments.objectives import REGRESSION
from experiments.settings import PAPER, Setting, Values
from experiments.tasks.task import Task

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


def load_mean_estimation(_root: Path, _settings: Values, rng: np.random.Generator) -> Data:
    """Draw the training and the test samples anew for each seed."""
    return Data(_draw_split(TRAIN_SIZES, rng), _draw_split(TEST_SIZES, rng), tuple(DISTRIBUTIONS))


def load_wine_quality(root: Path, settings: Values, rng: np.random.Generator) -> Data:
    """Half for training, stratified by the type of wine; then the white wines are cut to ``keep`` of theirs."""
    table = load_wine(root)
    names = ("red", "white")
    groups = table["wine"].map(names.index).to_numpy()
    features = table.drop(columns=["quality", "wine"]).to_numpy()
    quality = table["quality"].to_numpy()
    train, test = train_test_split(
        np.arange(len(table)), test_size=0.5, stratify=groups, random_state=int(rng.integers(2**32))
    )
    # The authors scale by all rows; we leave the test half out of it.
    features = StandardScaler().fit(features[train]).transform(features)
    train = train[keep_share(groups[train], [1.0, settings["keep"]], rng)]
    train_split, test_split = (_split(features[part], quality[part], groups[part]) for part in (train, test))
    return Data(train_split, test_split, names)


MEAN_ESTIMATION = Task(
    name="mean-estimation",
    summary="the mean behind ten draws from one of four distributions, the uniform ones rare; needs no files",
    load=load_mean_estimation,
    model=two_layer,
    objective=REGRESSION,
    settings={
        "epochs": Setting(500, PAPER),
        "batch_size": Setting(500, PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(5e-5, PAPER),
    },
    method_settings={"mixing_rate": Setting(0.01, PAPER), "every": Setting("epoch", PAPER)},
)

WINE_QUALITY = Task(
    name="wine-quality",
    summary="the quality of red and white wines, white cut to 10 %; needs tabular/winequality-*.csv",
    load=load_wine_quality,
    model=two_layer,
    objective=REGRESSION,
    settings={
        "epochs": Setting(300, PAPER),
        "batch_size": Setting(100, PAPER),
        "optimizer": Setting("Adam", PAPER),
        "lr": Setting(1e-4, PAPER),
        "keep": Setting(0.1, PAPER),
    },
    method_settings={"mixing_rate": Setting(0.05, PAPER), "every": Setting("epoch", PAPER)},
)
