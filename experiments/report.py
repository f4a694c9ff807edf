"""What a folder of runs says: one table on the screen, and pictures beside the runs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from experiments import storage
from experiments.errors import UserError
from experiments.pictures import draw_pictures
from experiments.summary import collect, summarise

NOTE = """\
Test error after 1/4, 1/2 and all of the epochs: mean over the seeds ± half of its 95 % t-interval.
Catches up: the epoch after which a seed is first as good as classical is at its end with the same seed.
Worst group: the largest test error of a group at the end, found for each seed on its own."""


def report(folder: Path, console: Console) -> None:
    """Print the table and draw the pictures of all runs in a folder, however many there are yet.

    Raises:
        UserError: if there are none, or a file is no run.
    """
    results = collect(storage.read_all(folder))
    if not results:
        raise UserError(f"no runs in {folder.absolute()}; expected <task>/<method>/seed-<n>.json below it")
    console.print(_as_table(summarise(results)))
    console.print(NOTE, highlight=False)
    for picture in draw_pictures(results, folder):
        console.print(f"picture: {picture}", highlight=False, soft_wrap=True)


def _as_table(summary: pd.DataFrame) -> Table:
    """A block a task, headed by its name and the unit of its errors, with a row a method."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    columns = list(summary.columns.drop(["task", "error", "method"]))
    table.add_column("", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    for (task, error), rows in summary.groupby(["task", "error"], sort=False):
        table.add_row(f"[bold]{task}[/bold]\n{error}")
        for row in rows.to_dict("records"):
            table.add_row(f"  {row['method']}", *(row[name] for name in columns))
        table.add_section()
    return table
