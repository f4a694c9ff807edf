"""Tables of numbers with a text column that tells the groups apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from experiments.datasets.download import download
from experiments.datasets.splits import missing
from experiments.errors import UserError


@dataclass(frozen=True)
class Publication:
    """A file as it was published: where from, and the sha256 of its bytes."""

    url: str
    sha256: str


_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/wine-quality"
RED = Publication(f"{_UCI}/winequality-red.csv", "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e")
WHITE = Publication(f"{_UCI}/winequality-white.csv", "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836")
# The table of Pace and Barry with the column ocean_proximity, which is A. Géron's; values in dollars.
HOUSING = Publication(
    "https://raw.githubusercontent.com/ageron/handson-ml2/master/datasets/housing/housing.csv",
    "8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e",
)

WINE_COLUMNS = 12
HOUSING_COLUMNS = (
    "longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households",
    "median_income", "median_house_value", "ocean_proximity",
)  # fmt: skip
# No house of the table is worth less than 14,999 or more than 500,001 dollars: in 100,000s all are below this.
LARGEST_IN_100_000 = 10


@lru_cache(maxsize=1)
def load_wine(root: Path) -> pd.DataFrame:
    """The 1,599 red and 4,898 white wines: 11 features, ``quality`` and ``wine`` ("red" or "white")."""
    tables = []
    for color, published in (("red", RED), ("white", WHITE)):
        path = root / "tabular" / f"winequality-{color}.csv"
        table = _read_csv(path, published, separator=";")
        if table.shape[1] != WINE_COLUMNS or table.columns[-1] != "quality":
            columns = list(table.columns)
            raise UserError(f"{path}: expected 12 columns separated by ';', 'quality' the last, got {columns}")
        _check_whole(table, path)
        tables.append(table.assign(wine=color))
    return pd.concat(tables, ignore_index=True)


@lru_cache(maxsize=1)
def load_housing(root: Path) -> pd.DataFrame:
    """The 20,640 blocks of California: 8 features, ``median_house_value`` in 100,000 dollars, ``ocean_proximity``.

    The value is in dollars in the published table and in 100,000s in the authors' copy of it; either is read.
    207 rows have no ``total_bedrooms``.
    """
    path = root / "tabular" / "housing.csv"
    table = _read_csv(path, HOUSING, separator=",")
    if tuple(table.columns) != HOUSING_COLUMNS:
        raise UserError(f"{path}: expected the columns {', '.join(HOUSING_COLUMNS)}, got {', '.join(table.columns)}")
    _check_whole(table.drop(columns="total_bedrooms"), path)
    in_dollars = table["median_house_value"].max() > LARGEST_IN_100_000
    return table.assign(median_house_value=table["median_house_value"] / (100_000 if in_dollars else 1))


def _read_csv(path: Path, published: Publication, separator: str) -> pd.DataFrame:
    """Read a table from its file, which is fetched first if it is not there."""
    if not path.is_file():
        try:
            download(published.url, path, published.sha256)
        except (OSError, RuntimeError) as error:
            fetch = f"put the file {published.url} there. The download just failed: {error}"
            raise missing(f"the table {path.stem!r}", path.parents[1], [f"tabular/{path.name}"], fetch) from error
    try:
        return pd.read_csv(path, sep=separator)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read, it may be cut short: {error}; get it anew") from error


def _check_whole(table: pd.DataFrame, path: Path) -> None:
    """Refuse a table with gaps, or one whose last line has no end: a file that was cut short."""
    with path.open("rb") as file:
        file.seek(-1, 2)
        ends_its_line = file.read() == b"\n"
    gaps = table.isna().any(axis=1)
    if gaps.any() or not ends_its_line:
        line = 2 + (int(gaps.argmax()) if gaps.any() else len(table) - 1)
        raise UserError(f"{path} cannot be read, it may be cut short: line {line} is not whole; get it anew")
