"""The command line: ``python -m experiments list | run | report | pack | demo``."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.catalogue import catalogue
from experiments.errors import UserError
from experiments.plan import ALL, all_kinds, left_out, plan, plan_demo
from experiments.run import Run
from experiments.settings import POSITIVE, WHOLE, Kind, parse_overrides

if TYPE_CHECKING:
    from rich.console import Console

# What trains or reports is imported when it is asked for: torch takes seconds, and `list` and a typo need none.

DEVICES = ("auto", "cpu", "cuda")
DEFAULT_METHODS = ("learn2mix", "classical", "balanced")
FAILED = 1
INTERRUPTED = 130
LOG_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        The exit code: 0; 1 if runs failed; 2 for what the user has to mend; 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    options.words = sys.argv[1:] if arguments is None else arguments
    try:
        code: int = options.command(options)
        return code
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished runs are stored, and the same command does the rest", file=sys.stderr)
        return INTERRUPTED


def _screen() -> Console:
    """Where results go. A log has no width of its own, and 80 columns would break the table's cells."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def _list(_options: argparse.Namespace) -> int:
    print(catalogue(shutil.get_terminal_size((LOG_WIDTH, 0)).columns))
    return 0


def _run(options: argparse.Namespace) -> int:
    from experiments import storage

    overrides = parse_overrides(options.set, all_kinds())
    if options.epochs is not None:
        overrides["epochs"] = options.epochs
    where = {"time_budget": options.time_budget, "data_root": options.data_root}
    runs = plan(options.tasks, options.methods, options.seeds, overrides, **where)
    for pair in left_out(options.tasks, options.methods, overrides, **where):
        print(f"{pair.task} {pair.method} is left out: {pair.reason}", file=sys.stderr)
        storage.write_unsuitable(options.out, pair)
    return _sweep_and_report(runs, options)


def _demo(options: argparse.Namespace) -> int:
    overrides = {} if options.epochs is None else {"epochs": options.epochs}
    return _sweep_and_report(plan_demo(options.seeds, overrides, options.time_budget), options)


def _report(options: argparse.Namespace) -> int:
    from experiments.report import report

    report(options.folders, _screen(), options.out)
    return 0


def _pack(options: argparse.Namespace) -> int:
    from experiments.results import pack

    print(f"packed {pack(options.folder, options.target)} runs into {options.target}")
    return 0


def _sweep_and_report(runs: Sequence[Run], options: argparse.Namespace) -> int:
    from rich.console import Console

    from experiments.environment import choose_device
    from experiments.execution import Conditions
    from experiments.sweep import sweep

    command = f"python -m experiments {shlex.join(options.words)}"
    device = choose_device(options.device)
    conditions = Conditions(options.data_root, device, options.threads, options.jobs, command)
    failures = sweep(runs, conditions, options.out, Console(stderr=True))
    if options.report:
        from experiments.report import report

        report([options.out], _screen())
    for run, error in failures:
        print(f"failed: {run}: {error}", file=sys.stderr)
    return FAILED if failures else 0


def _argument(kind: Kind) -> Callable[[str], Any]:
    """A parser of arguments that obeys a setting's rule."""

    def parse(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {kind.rule}, got {text!r}") from None

    return parse


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="The benchmark of learn2mix.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="show the tasks, the methods and the settings with their sources")
    listing.set_defaults(command=_list)

    run = commands.add_parser("run", help="train what is not stored yet, then report")
    run.add_argument("tasks", nargs="+", metavar="TASK")
    defaults = " ".join(DEFAULT_METHODS)
    run.add_argument("--methods", nargs="+", metavar="M", default=DEFAULT_METHODS, help=f"or {ALL}; default {defaults}")
    _add_run_options(run, num_seeds=5, out=Path("runs"))
    run.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", default=[], help="change settings")
    data_root = Path(os.environ.get("LEARN2MIX_DATA", "data"))
    run.add_argument(
        "--data-root", type=Path, default=data_root, metavar="DIR", help="default $LEARN2MIX_DATA, else data/"
    )
    run.set_defaults(command=_run)

    reporting = commands.add_parser("report", help="print the tables of folders of runs, and make the page of them")
    reporting.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="where runs are, however deep")
    reporting.add_argument(
        "--out", type=Path, metavar="PATH", help="FILE.html for the page alone, or a folder; default the first DIR"
    )
    reporting.set_defaults(command=_report)

    packing = commands.add_parser(
        "pack", help="write the runs of a folder as one table for a repository, to six digits"
    )
    packing.add_argument("folder", type=Path, metavar="DIR")
    packing.add_argument("target", type=Path, metavar="TARGET")
    packing.set_defaults(command=_pack)

    demo = commands.add_parser("demo", help="learn2mix against its baselines in a few minutes, without any files")
    _add_run_options(demo, num_seeds=3, out=Path("runs/demo"))
    demo.set_defaults(command=_demo, data_root=data_root)
    return parser


def _add_run_options(parser: argparse.ArgumentParser, *, num_seeds: int, out: Path) -> None:
    whole, seconds = _argument(WHOLE), _argument(POSITIVE)
    parser.add_argument("--seeds", type=whole, default=num_seeds, metavar="N", help=f"default {num_seeds}")
    parser.add_argument("--epochs", type=whole, metavar="E", help="instead of each task's own number")
    parser.add_argument(
        "--time-budget",
        type=seconds,
        metavar="S",
        help="end a run with the epoch that fills S seconds of training",
    )
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"where runs are stored, default {out}/")
    parser.add_argument("--no-report", dest="report", action="store_false", help="leave out tables and pictures")
    parser.add_argument("--jobs", type=whole, default=1, metavar="J", help="runs at the same time, default 1")
    parser.add_argument("--threads", type=whole, default=1, metavar="T", help="of torch for each job, default 1")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default auto: cuda where there is one")
