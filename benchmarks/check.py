"""Whether the library got slower: ratios measured now against the stored ones, each to what took turns with it.

A ratio moves little from one machine to the next, and times move much. What looks worse is measured up to
twice more, and the best ratio counts, for noise only adds.
"""

from collections.abc import Callable, Iterable, Sequence

from benchmarks.rows import Row

TOLERANCE = 0.25  # of the stored ratio
REPEATS = 2


def worse(now: Sequence[Row], stored: Sequence[Row], tolerance: float = TOLERANCE) -> list[tuple[Row, Row]]:
    """Pairs of a row and the stored one, where the ratio grew by more than the tolerance.

    A row that had a ratio and now took too long to have one is worse too. New rows are not.
    """
    before = {row.key: row for row in stored if row.ratio is not None}
    pairs = [(row, before[row.key]) for row in now if row.key in before]
    return [(row, old) for row, old in pairs if row.ratio is None or row.ratio > (1 + tolerance) * old.ratio]


def check(measures: Iterable[Callable[[], list[Row]]], stored: Sequence[Row], tolerance: float = TOLERANCE) -> int:
    """Print how the ratios compare, and return the exit code: 1 if one is worse, 2 if there was none to compare."""
    now = [row for measure in measures for row in _measure_until_fine(measure, stored, tolerance)]
    compared = {row.key for row in stored if row.ratio is not None} & {row.key for row in now}
    if not compared:
        print("nothing to compare with: run `make benchmark` first")
        return 2
    found = worse(now, stored, tolerance)
    for row, old in found:
        ratio = f"none, {row.note}" if row.ratio is None else f"{row.ratio:.2f}"
        sizes = f"K = {row.num_groups:,}, M = {row.batch_size:,}, N = {row.num_samples:,}"
        print(f"worse: {row.measure}: {row.name} ({sizes}): ratio {ratio}, stored {old.ratio:.2f}")
    print(f"{len(compared)} ratios compared, tolerance {tolerance:.0%}, {len(found)} worse")
    return int(bool(found))


def _measure_until_fine(measure: Callable[[], list[Row]], stored: Sequence[Row], tolerance: float) -> list[Row]:
    rows = measure()
    for _ in range(REPEATS):
        if not worse(rows, stored, tolerance):
            break
        rows = [_better(*pair) for pair in zip(rows, measure(), strict=True)]
    return rows


def _better(first: Row, second: Row) -> Row:
    """The row with the smaller ratio, of two of one key; one without a ratio is the larger."""
    return min(first, second, key=lambda row: float("inf") if row.ratio is None else row.ratio)
