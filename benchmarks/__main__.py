"""Measures, prints, stores and compares what mixing costs.

python -m benchmarks          measure all, print the tables, store them, write docs/performance.md (5 minutes)
python -m benchmarks page     write the page and the picture again from what is stored
python -m benchmarks check    measure our own again and exit with 1 if a ratio is worse than the stored one
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks import composing, huge, lightning_step, training_step
from benchmarks.check import TOLERANCE, check
from benchmarks.page import DOCS, missing, write_page
from benchmarks.rows import RESULTS, Row, load, save
from benchmarks.tables import tables
from benchmarks.timing import describe_machine


def measure_all() -> list[Row]:
    """Every row, each measure announced as it begins."""
    rows = []
    for module in (composing, training_step, lightning_step, huge):
        print(f"measuring: {module.MEASURE}", flush=True)
        rows += module.measure()
    return rows


def own_measures() -> Iterator[Callable[[], list[Row]]]:
    """What measures the rows whose ratios are compared, size by size: our own, the peers left out."""
    for shape in composing.SHAPES:
        yield partial(composing.measure_own, shape)
    yield partial(lightning_step.measure, duration=8.0)
    for num_groups in huge.GROUPS:
        for size in huge.SIZES:
            yield partial(huge.measure, (size,), (), (num_groups,))


def main(arguments: list[str]) -> int:
    """Do what the arguments say, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("run", "page", "check"), default="run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the rows are stored, as JSON and CSV")
    parser.add_argument("--docs", type=Path, default=DOCS, help="the folder of performance.md")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="by how much a ratio may grow (%(default)s)")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if given.what == "check":
        return check(own_measures(), load(given.results)[1], given.tolerance)
    if given.what == "run":
        save(given.results, describe_machine(), measure_all())
    environment, rows = load(given.results)
    print("\n\n".join([*(table.as_text() for table in tables(rows)), *missing(rows)]))
    write_page(given.docs, environment, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
