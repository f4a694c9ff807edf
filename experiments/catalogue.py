"""What there is to run, as ``list`` shows it."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.methods import METHODS
from experiments.settings import KINDS, Setting
from experiments.tasks import TASKS


def print_catalogue(console: Console) -> None:
    """Print every task and method, and every setting with its source."""
    tasks = _table("task", "settings, and who says so")
    for task in TASKS.values():
        tasks.add_row(_headed(task.name, task.summary), _by_source({**task.settings, **task.method_settings}))
    methods = _table("method", "its own settings, where the task has none")
    for method in METHODS.values():
        methods.add_row(_headed(method.name, method.summary), _by_source(method.settings))
    kinds = _table("--set", "takes")
    kinds.show_lines = False
    for name, kind in KINDS.items():
        kinds.add_row(name, kind.rule)
    for table in (tasks, methods, kinds):
        console.print(table)


def _table(first: str, second: str) -> Table:
    """Two columns that share any width evenly enough for 80 characters to do."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_lines=True, expand=True)
    table.add_column(first, ratio=2)
    table.add_column(second, ratio=3)
    return table


def _headed(name: str, summary: str) -> Text:
    return Text.assemble((name, "bold"), "\n", summary)


def _by_source(settings: Mapping[str, Setting]) -> Text:
    """The settings as ``--set`` takes them, those of one source together."""
    of_source: dict[str, list[str]] = {}
    for name, setting in settings.items():
        of_source.setdefault(setting.source, []).append(f"{name}={setting.value}")
    return Text("\n").join(
        Text.assemble(" ".join(pairs), (f" ({source})", "dim")) for source, pairs in of_source.items()
    )
