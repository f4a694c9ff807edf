"""Tables of numbers with a text column that tells the groups apart."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pandas as pd

from experiments.datasets.splits import missing
from experiments.errors import UserError

WINE_URL = "https://archive.ics.uci.edu/static/public/186/wine+quality.zip"


@lru_cache(maxsize=1)
def load_wine(root: Path) -> pd.DataFrame:
    """The 1,599 red and 4,898 white wines: 11 features, ``quality`` and ``wine`` ("red" or "white")."""
    tables = [_read_csv(root, color).assign(wine=color) for color in ("red", "white")]
    return pd.concat(tables, ignore_index=True)


def _read_csv(root: Path, color: str) -> pd.DataFrame:
    path = root / "tabular" / f"winequality-{color}.csv"
    if not path.is_file():
        layout = ["tabular/winequality-red.csv", "tabular/winequality-white.csv"]
        raise missing("the table 'wine-quality'", root, layout, f"unpack both files of {WINE_URL} there.")
    try:
        table = pd.read_csv(path, sep=";")
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}; get it anew") from error
    if table.shape[1] != 12 or "quality" not in table:
        raise UserError(f"{path}: expected 12 columns separated by ';', 'quality' the last, got {list(table.columns)}")
    return table
