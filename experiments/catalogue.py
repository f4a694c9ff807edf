"""What there is to run, as ``list`` shows it; written without any library, so that it is there at once."""

import textwrap
from collections.abc import Iterator, Mapping

from experiments.methods import METHODS
from experiments.plan import all_kinds
from experiments.settings import Setting
from experiments.tasks import TASKS


def catalogue(width: int) -> str:
    """Every task and method, every setting with its source, and what it takes, in lines of at most ``width``."""
    return "\n".join(
        line
        for text in _lines()
        for line in textwrap.wrap(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        or [""]
    )


def _lines() -> Iterator[str]:
    yield "TASKS, their settings and who says so"
    for task in TASKS.values():
        yield from ("", task.name, f"  {task.summary}")
        if task.expected is not None:
            yield f"  expect: {task.expected.in_words(task.objective.error_name)}"
        yield from _by_source({**task.settings, **task.method_settings})
    yield from ("", "", "METHODS, and their own settings where the task has none")
    for method in METHODS.values():
        yield from ("", method.name, f"  {method.summary}", *_by_source(method.settings))
    yield from ("", "", "--set takes", "", *(f"{name}  {kind.rule}" for name, kind in all_kinds().items()))


def _by_source(settings: Mapping[str, Setting]) -> Iterator[str]:
    """The settings as ``--set`` takes them, those of one source together."""
    for source in dict.fromkeys(setting.source for setting in settings.values()):
        pairs = " ".join(f"{name}={setting.value}" for name, setting in settings.items() if setting.source == source)
        yield f"  {pairs} ({source})"
