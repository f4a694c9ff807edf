"""What the paper published, to stand beside our own numbers.

Source: S. Venkatasubramanian and V. Tarokh, "Learn2Mix: Training Neural Networks Using Adaptive Data Integration",
arXiv 2412.16482, Tables 1 and 2: mean and half of the 95 % t-interval over five seeds, on an RTX 3090. Classification
is test accuracy in per cent, at shares of a budget of seconds; the rest is test mean squared error (of reconstructions
summed over the pixels), at shares of the epochs. Times are theirs: only order and ratios carry over.
"""

from __future__ import annotations

import csv
from pathlib import Path

from experiments.report.intervals import Interval


def _read() -> dict[str, dict[str, tuple[Interval | None, ...]]]:
    found: dict[str, dict[str, tuple[Interval | None, ...]]] = {}
    with Path(__file__).with_name("published.csv").open(encoding="utf-8") as file:
        _columns, *rows = csv.reader(file)
    for task, method, *numbers in rows:
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        found.setdefault(task, {})[method] = tuple(Interval(float(a), float(b)) if a else None for a, b in pairs)
    return found


PUBLISHED = _read()


def published(task: str, method: str) -> tuple[Interval | None, ...]:
    """The paper's numbers at a quarter, half and all of the length; None for each that it has not.

    Example:
        >>> published("wine-quality", "learn2mix")[1]
        Interval(mean=4.26, half_width=1.55)
    """
    return PUBLISHED.get(task, {}).get(method, (None, None, None))
