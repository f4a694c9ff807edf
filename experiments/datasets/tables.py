"""The data of the paper's regressions; the groups are what a text column or the source of a sample says."""

import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch.hub import download_url_to_file

from experiments.datasets import Data, Split, cut, obtaining, reading
from experiments.errors import UserError
from experiments.settings import Values

# Where each file was published, and the sha256 of its bytes; the column ocean_proximity is A. Géron's.
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality"
_GERON = "https://raw.githubusercontent.com/ageron/handson-ml2/master/datasets/housing"
PUBLISHED = {
    "winequality-red.csv": (_UCI, "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e"),
    "winequality-white.csv": (_UCI, "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836"),
    "housing.csv": (_GERON, "8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e"),
}
HOUSING_COLUMNS = (
    "longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households",
    "median_income", "median_house_value", "ocean_proximity",
)  # fmt: skip
WINE_COLUMNS = (
    "fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides", "free sulfur dioxide",
    "total sulfur dioxide", "density", "pH", "sulphates", "alcohol", "quality",
)  # fmt: skip

# Each: the range of the means, training samples, and how draws with the means (N, 1) are made.
DISTRIBUTIONS: dict[str, tuple[tuple[float, float], int, Callable[..., np.ndarray]]] = {
    "normal": ((0, 1), 1000, lambda rng, mean, shape: rng.normal(mean, 1.0, shape)),
    "exponential": ((0, 1), 1000, lambda rng, mean, shape: rng.exponential(mean, shape)),
    "chi-squared": ((0, 1), 800, lambda rng, mean, shape: rng.chisquare(mean, shape)),
    "uniform": ((20, 50), 200, lambda rng, mean, shape: rng.uniform(mean - 10, mean + 10, shape)),
}


def mean_estimation(_root: Path, _settings: Values, rng: np.random.Generator) -> Data:
    """Ten numbers with the mean that they were drawn with: drawn anew for each seed, 1,000 of each group to test on."""
    parts = []
    for sizes in ([size for _, size, _ in DISTRIBUTIONS.values()], [1000] * len(DISTRIBUTIONS)):
        features, targets = [], []
        for size, (limits, _, draw) in zip(sizes, DISTRIBUTIONS.values(), strict=True):
            means = rng.uniform(*limits, size=(size, 1))
            features.append(draw(rng, means, (size, 10)))
            targets.append(means[:, 0])
        parts.append(_split(np.concatenate(features), np.concatenate(targets), np.arange(len(sizes)).repeat(sizes)))
    return Data(parts[0], parts[1], tuple(DISTRIBUTIONS))


def _split(features: np.ndarray, targets: np.ndarray, groups: np.ndarray) -> Split:
    return Split(torch.from_numpy(features).float(), torch.from_numpy(targets).float(), torch.from_numpy(groups).long())


def wine_quality(root: Path, settings: Values, rng: np.random.Generator) -> Data:
    """The quality of red and white wines; "step" cuts the white ones."""
    return _halves(load_wine(root), "quality", "wine", ["white"], settings, rng)


def california_housing(root: Path, settings: Values, rng: np.random.Generator) -> Data:
    """The median value of a block's houses in 100,000 dollars, without gaps and islands; "step" cuts all but inland."""
    table = load_housing(root).dropna()
    table = table[table["ocean_proximity"] != "ISLAND"]
    rare = ["<1H OCEAN", "NEAR BAY", "NEAR OCEAN"]
    return _halves(table, "median_house_value", "ocean_proximity", rare, settings, rng)


def _halves(
    table: pd.DataFrame, target: str, group: str, rare: Sequence[str], settings: Values, rng: np.random.Generator
) -> Data:
    """Half of a table for training, stratified by its groups; then this half's groups are cut."""
    features, targets = table.drop(columns=[target, group]), table[target].to_numpy()
    names, groups = np.unique(table[group], return_inverse=True)
    seed = int(rng.integers(2**32))
    train, test = train_test_split(np.arange(len(table)), test_size=0.5, stratify=groups, random_state=seed)
    # The authors scale by all rows; we leave the test half out of it.
    scaled = StandardScaler().fit(features.iloc[train]).transform(features)
    first, second = (_split(scaled[part], targets[part], groups[part]) for part in (train, test))
    return cut(Data(first, second, tuple(names.tolist())), settings, rng, np.flatnonzero(np.isin(names, rare)))


@lru_cache(maxsize=1)
def load_wine(root: Path) -> pd.DataFrame:
    """The 1,599 red and 4,898 white wines: 11 features, ``quality`` and ``wine`` ("red" or "white")."""
    tables = {color: _read_csv(root, f"winequality-{color}.csv", WINE_COLUMNS, ";") for color in ("red", "white")}
    return pd.concat([table.assign(wine=color) for color, table in tables.items()], ignore_index=True)


@lru_cache(maxsize=1)
def load_housing(root: Path) -> pd.DataFrame:
    """The 20,640 blocks of California: 8 features, ``median_house_value`` in 100,000 dollars, ``ocean_proximity``."""
    table = _read_csv(root, "housing.csv", HOUSING_COLUMNS, ",", may_lack="total_bedrooms")
    values = table["median_house_value"]
    # The authors' copy has 100,000s, all below 10, the published table dollars, all above.
    return table.assign(median_house_value=values / (100_000 if values.max() > 10 else 1))


def _read_csv(root: Path, name: str, columns: Sequence[str], separator: str, may_lack: str = "") -> pd.DataFrame:
    """A table, fetched first if it is not there; a gap, or a last line without its end, is a file that was cut."""
    path, (folder, sha256) = root / "tabular" / name, PUBLISHED[name]
    if not path.is_file():
        fetch = f"put the file {folder}/{name} there"
        with obtaining(f"the table {path.stem!r}", root, [f"tabular/{name}"], fetch), TemporaryDirectory() as arrival:
            download_url_to_file(f"{folder}/{name}", f"{arrival}/{name}", hash_prefix=sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(f"{arrival}/{name}", path)
    with reading(path):
        table = pd.read_csv(path, sep=separator)
        if tuple(table.columns) != tuple(columns):
            expected = f"expected the columns {', '.join(columns)}, separated by {separator!r}"
            raise UserError(f"{path}: {expected}, got {', '.join(table.columns)}")
        gaps = table.drop(columns=may_lack, errors="ignore").isna().any(axis=1)
        if gaps.any() or not path.read_bytes().endswith(b"\n"):
            raise ValueError(f"line {2 + (int(gaps.argmax()) if gaps.any() else len(table) - 1)} is not whole")
    return table
