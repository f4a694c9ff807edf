"""The command line: ``python -m experiments list | run | report | demo``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from experiments.catalogue import print_catalogue
from experiments.demo import plan_demo
from experiments.errors import UserError
from experiments.report import report
from experiments.runs import Run, plan
from experiments.settings import WHOLE, parse_overrides
from experiments.sweep import sweep

DEFAULT_METHODS = ("learn2mix", "classical", "balanced")
INTERRUPTED = 130
LOG_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0, 2 for what the user has to mend, 130 after Ctrl-C."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished runs are stored, and the same command does the rest", file=sys.stderr)
        return INTERRUPTED
    return 0


def _screen() -> Console:
    """Where results go. A log has no width of its own, and 80 columns would break the table's cells."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_WIDTH)


def _list(_options: argparse.Namespace) -> None:
    print_catalogue(_screen())


def _run(options: argparse.Namespace) -> None:
    overrides = parse_overrides(options.set)
    if options.epochs is not None:
        overrides["epochs"] = options.epochs
    _sweep_and_report(plan(options.tasks, options.methods, options.seeds, overrides), options)


def _demo(options: argparse.Namespace) -> None:
    overrides = {} if options.epochs is None else {"epochs": options.epochs}
    _sweep_and_report(plan_demo(options.seeds, overrides), options)


def _report(options: argparse.Namespace) -> None:
    report(options.folder, _screen())


def _sweep_and_report(runs: Sequence[Run], options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    sweep(runs, options.data_root, options.out, Console(stderr=True))
    report(options.out, _screen())


def _whole(text: str) -> int:
    try:
        return int(WHOLE.parse(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {WHOLE.rule}, got {text!r}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m experiments", description="The benchmark of learn2mix.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="show the tasks, the methods and the settings with their sources")
    listing.set_defaults(command=_list)

    run = commands.add_parser("run", help="train what is not stored yet, then report")
    run.add_argument("tasks", nargs="+", metavar="TASK")
    run.add_argument(
        "--methods", nargs="+", metavar="M", default=DEFAULT_METHODS, help=f"default {' '.join(DEFAULT_METHODS)}"
    )
    _add_run_options(run, num_seeds=5, out=Path("runs"))
    run.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", default=[], help="change settings")
    data_root = Path(os.environ.get("LEARN2MIX_DATA", "data"))
    run.add_argument(
        "--data-root", type=Path, default=data_root, metavar="DIR", help="default $LEARN2MIX_DATA, else data/"
    )
    run.set_defaults(command=_run)

    reporting = commands.add_parser("report", help="print the table and draw the pictures of a folder of runs")
    reporting.add_argument("folder", type=Path, metavar="DIR")
    reporting.set_defaults(command=_report)

    demo = commands.add_parser("demo", help="learn2mix against its baselines in a few minutes, without any files")
    _add_run_options(demo, num_seeds=3, out=Path("runs/demo"))
    demo.set_defaults(command=_demo, data_root=data_root)
    return parser


def _add_run_options(parser: argparse.ArgumentParser, *, num_seeds: int, out: Path) -> None:
    parser.add_argument("--seeds", type=_whole, default=num_seeds, metavar="N", help=f"default {num_seeds}")
    parser.add_argument("--epochs", type=_whole, metavar="E", help="instead of each task's own number")
    parser.add_argument("--out", type=Path, default=out, metavar="DIR", help=f"where runs are stored, default {out}/")
    parser.add_argument("--threads", type=_whole, default=1, metavar="T", help="of torch, default 1")
