"""Whether the library got slower: ratios measured now against the stored ones, each to what took turns with it.

A ratio moves little from one machine to the next, and times move much. What looks worse is measured again, and the
better ratio counts, for noise only adds.
"""

from collections.abc import Callable, Sequence

from benchmarks.rows import Row

TOLERANCE = 0.25  # of the stored ratio


def worse(now: Sequence[Row], stored: Sequence[Row], tolerance: float = TOLERANCE) -> list[tuple[Row, Row]]:
    """Pairs of a row and the stored one, where the ratio grew by more than the tolerance.

    A row that had a ratio and now took too long to have one is worse too. New rows are not.
    """
    before = {row.key: row for row in stored if row.ratio is not None}
    pairs = [(row, before[row.key]) for row in now if row.key in before]
    return [(row, old) for row, old in pairs if row.ratio is None or row.ratio > (1 + tolerance) * old.ratio]


def check(measure: Callable[[], list[Row]], stored: Sequence[Row], tolerance: float = TOLERANCE) -> int:
    """Print how the ratios compare, and return the exit code: 1 if one is worse, 2 if there was none to compare."""
    now = measure()
    if worse(now, stored, tolerance):
        print("some ratios are worse; measuring again")
        now = [_better(*pair) for pair in zip(now, measure(), strict=True)]
    compared = {row.key for row in stored if row.ratio is not None} & {row.key for row in now}
    if not compared:
        print("nothing to compare with: run `make benchmark` first")
        return 2
    for row, old in (found := worse(now, stored, tolerance)):
        ratio = "none" if row.ratio is None else f"{row.ratio:.2f}"
        sizes = f"K = {row.num_groups:,}, M = {row.batch_size:,}, N = {row.num_samples:,}"
        print(f"worse: {row.measure}: {row.name} ({sizes}): ratio {ratio}, stored {old.ratio:.2f} {row.note}".rstrip())
    print(f"{len(compared)} ratios compared, tolerance {tolerance:.0%}, {len(found)} worse")
    return int(bool(found))


def _better(first: Row, second: Row) -> Row:
    """The row with the smaller ratio, of two of one key; one without a ratio is the larger."""
    return min(first, second, key=lambda row: float("inf") if row.ratio is None else row.ratio)
