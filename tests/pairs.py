"""Settings that meet in pairs: what two of them do together is shown by far fewer than all combinations."""

from collections.abc import Sequence
from itertools import combinations, product
from typing import Any


def pairs_of(row: Sequence[int]) -> set[tuple[tuple[int, int], ...]]:
    return set(combinations(enumerate(row), 2))


def pairs(*settings: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Few combinations, the same each time, in which any two values of two settings come together at least once."""
    rows = list(product(*(range(len(values)) for values in settings)))
    left, chosen = set[Any]().union(*map(pairs_of, rows)), []
    while left:
        chosen.append(max(rows, key=lambda row: len(pairs_of(row) & left)))  # the first of those that have most
        left -= pairs_of(chosen[-1])
    return [tuple(values[number] for values, number in zip(settings, row, strict=True)) for row in chosen]
