"""What there is to run, as ``list`` shows it; written without any library, so that it is there at once."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from experiments.methods import METHODS
from experiments.plan import all_kinds
from experiments.settings import Setting
from experiments.tasks import TASKS


def catalogue(width: int) -> str:
    """Every task and method, every setting with its source, and what it takes, in lines of at most ``width``."""
    lines = ["TASKS, their settings and who says so"]
    for task in TASKS.values():
        lines += ["", task.name, *_wrapped(task.summary, width)]
        if task.expected is not None:
            lines += _wrapped(f"expect: {task.expected.in_words(task.objective.error_name)}", width)
        lines += _by_source({**task.settings, **task.method_settings}, width)
    lines += ["", "", "METHODS, and their own settings where the task has none"]
    for method in METHODS.values():
        lines += ["", method.name, *_wrapped(method.summary, width), *_by_source(method.settings, width)]
    lines += ["", "", "--set takes", ""]
    for name, kind in all_kinds().items():
        lines += textwrap.wrap(f"{name}  {kind.rule}", width, subsequent_indent="    ", break_long_words=False)
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _by_source(settings: Mapping[str, Setting], width: int) -> Iterator[str]:
    """The settings as ``--set`` takes them, those of one source together."""
    of_source: dict[str, list[str]] = {}
    for name, setting in settings.items():
        of_source.setdefault(setting.source, []).append(f"{name}={setting.value}")
    for source, pairs in of_source.items():
        yield from _wrapped(f"{' '.join(pairs)} ({source})", width)
