"""The command line: ``python -m experiments list | run | report | pack | demo``.

What trains or reports is imported when it is asked for: torch takes seconds, and ``list`` and a typo need none.
"""

import argparse
import os
import shlex
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.plan import ALL, all_kinds, plan
from experiments.settings import POSITIVE, WHOLE, Setting, parse_overrides
from experiments.tasks import TASKS, find_task

DEFAULT_METHODS = ("learn2mix", "classical", "balanced")
# Learn2mix against its baselines, on real digits and on the paper's synthetic task, without any files.
DEMO = [(["mnist-5k"], (*DEFAULT_METHODS, "fading")), (["mean-estimation"], ("learn2mix", "classical"))]
LOG_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 if runs failed, 2 for what the user has to mend, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    options.words = sys.argv[1:] if arguments is None else arguments
    try:
        failures = options.command(options)
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # said here, for learn2mix.extras would load the library for `list` too
        if error.name is None or error.name.startswith(("experiments", "learn2mix")):
            raise
        missing = f'this needs {error.name}, which is not installed: pip install "learn2mix[experiments]"'
        print(f"error: {missing}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `list | head` reads no further; Python would complain again when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("stopped; finished runs are stored, and the same command does the rest", file=sys.stderr)
        return 130
    return 1 if failures else 0


def catalogue(width: int) -> str:
    """Every task and method, every setting with its source, and what it takes, in lines of at most ``width``."""
    wrap = textwrap.TextWrapper(width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False).wrap
    return "\n".join(line for text in _lines() for line in wrap(text) or [""])


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


def _run(options: argparse.Namespace) -> bool:
    overrides = parse_overrides(options.set, all_kinds())
    if options.epochs is not None:
        overrides["epochs"] = options.epochs
    runs, left_out = [], []
    for tasks, methods in options.parts or [(options.tasks, options.methods)]:
        where = {"time_budget": options.time_budget, "data_root": options.data_root}
        runs += plan(tasks, methods, options.seeds, overrides, **where)
        left_out += plan(tasks, methods, 1, overrides, **where, suitable=False)

    from experiments import results
    from experiments.execution import RunOptions, choose_device
    from experiments.sweep import sweep

    device, command = choose_device(options.device), f"python -m experiments {shlex.join(options.words)}"
    for run in left_out:
        reason = METHODS[run.method].unsuitable(find_task(run.task, options.data_root))
        print(f"{run.task} {run.method} is left out: {reason}", file=sys.stderr)
        note = {"task": run.task, "method": run.method, "config": run.settings, "reason": reason}
        results.write(results.path_of(options.out, run).with_name("unsuitable.json"), note)
    run_options = RunOptions(options.data_root, device, options.threads, options.jobs, command)
    failures = sweep(runs, run_options, options.out)
    if options.report:
        _report(argparse.Namespace(folders=[options.out], out=None))
    for failure in failures:
        print(f"failed: {failure.run}: {failure.error}", file=sys.stderr)
    return bool(failures)


def _report(options: argparse.Namespace) -> None:
    from rich.console import Console

    from experiments.report import report

    # A log has no width of its own, and 80 columns would break the table's cells.
    report(options.folders, Console(width=None if sys.stdout.isatty() else LOG_WIDTH), options.out)


def _pack(options: argparse.Namespace) -> None:
    from experiments.results import pack

    print(f"packed {pack(options.folder, options.target)} runs into {options.target}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="The benchmark of learn2mix.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: Callable[..., bool | None], text: str, **defaults: Any) -> Callable[..., Any]:
        added = commands.add_parser(name, help=text)
        added.set_defaults(command=do, **defaults)
        return added.add_argument

    width = shutil.get_terminal_size((LOG_WIDTH, 0)).columns
    command("list", lambda _: print(catalogue(width)), "show tasks, methods and settings with their sources")
    run = command("run", _run, "train what is not stored yet, then report", parts=None)
    run("tasks", nargs="+", metavar="TASK")
    methods = f"or {ALL}; default {' '.join(DEFAULT_METHODS)}"
    run("--methods", nargs="+", metavar="M", default=DEFAULT_METHODS, help=methods)
    run("--set", nargs="+", action="extend", metavar="KEY=VALUE", default=[], help="change settings")
    report = command("report", _report, "print the tables of folders of runs, and make the page of them")
    report("folders", type=Path, nargs="+", metavar="DIR", help="where runs are, however deep")
    report("--out", type=Path, metavar="PATH", help="FILE.html for the page alone, or a folder; default the first DIR")
    pack = command("pack", _pack, "write the runs of a folder as one table for a repository, to six digits")
    pack("folder", type=Path, metavar="DIR")
    pack("target", type=Path, metavar="TARGET")
    demo = command("demo", _run, "learn2mix against its baselines in minutes, without any files", parts=DEMO, set=[])
    data_root = Path(os.environ.get("LEARN2MIX_DATA", "data"))
    for add, num_seeds, out in ((run, 5, "runs"), (demo, 3, "runs/demo")):
        add("--seeds", type=WHOLE.parse, default=num_seeds, metavar="N", help=f"default {num_seeds}")
        add("--epochs", type=WHOLE.parse, metavar="E", help="instead of each task's own number")
        add("--time-budget", type=POSITIVE.parse, metavar="S", help="end a run with the epoch that fills S seconds")
        add("--data-root", type=Path, default=data_root, metavar="DIR", help="default $LEARN2MIX_DATA, else data/")
        add("--out", type=Path, default=Path(out), metavar="DIR", help=f"where runs are stored, default {out}/")
        add("--no-report", dest="report", action="store_false", help="leave out tables and pictures")
        add("--jobs", type=WHOLE.parse, default=1, metavar="J", help="runs at the same time, default 1")
        add("--threads", type=WHOLE.parse, default=1, metavar="T", help="of torch for each job, default 1")
        add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default auto: cuda where there is one")
    return parser
