"""Stored runs for a repository: compressed, with numbers to six digits."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from experiments import storage
from experiments.errors import UserError

DIGITS = 6


def pack(source: Path, target: Path) -> int:
    """Copy every run below ``source`` to the same place below ``target``, as ``seed-<n>.json.gz``; return how many.

    For ``report`` a packed run is as good as the run itself; ``run`` does not take it for one that is done.

    Raises:
        UserError: if there are no runs.
    """
    paths = []
    for path, record in storage.read_runs(source):
        paths.append(path)
        packed = (target / path.relative_to(source)).with_name(f"{path.name.removesuffix('.gz')}.gz")
        packed.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(rounded(record), separators=(",", ":"), allow_nan=False)
        packed.write_bytes(gzip.compress(text.encode(), mtime=0))  # so that the same run gives the same file
    if not paths:
        raise UserError(f"no runs below {source}")
    return len(paths)


def rounded(value: Any) -> Any:
    """The same with its floats to six significant digits.

    Example:
        >>> rounded({"test_error": 0.123456789, "epoch": 1, "proportions": [2 / 3, 1 / 3]})
        {'test_error': 0.123457, 'epoch': 1, 'proportions': [0.666667, 0.333333]}
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return value
