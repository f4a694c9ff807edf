"""What there is to run, as ``list`` shows it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from experiments.methods import METHODS
from experiments.settings import KINDS, Setting
from experiments.tasks import TASKS


def print_catalogue(console: Console) -> None:
    """Print every task and method, and every setting with its source."""
    tasks = Table("task", "what it is", "settings (source)", show_lines=True)
    for task in TASKS.values():
        settings = {**task.settings, **task.method_settings}
        tasks.add_row(task.name, task.summary, "\n".join(_line(*item) for item in settings.items()))
    methods = Table("method", "what it does", "its own settings (where the task has none)")
    for method in METHODS.values():
        methods.add_row(method.name, method.summary, "\n".join(_line(*item) for item in method.settings.items()))
    kinds = Table("--set", "takes")
    for name, kind in KINDS.items():
        kinds.add_row(name, kind.rule)
    for table in (tasks, methods, kinds):
        console.print(table)


def _line(name: str, setting: Setting) -> str:
    return f"{name}={setting.value} ({setting.source})"
