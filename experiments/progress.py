"""Progress of a sweep: bars in a terminal, a line a finished run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.execution import EpochDone
from experiments.runs import Run


class SweepProgress:
    """Shows each run that is being trained, its epoch, and the time left for it and for the whole sweep."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        """Prepare to show ``runs``; nothing is drawn when ``console`` is no terminal."""
        self._num_runs = len(runs)
        self._num_over = 0
        self._bars: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self._progress.add_task("all", total=self._num_runs, count=f"0/{self._num_runs} runs")

    def __enter__(self) -> SweepProgress:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Stop drawing, however the sweep ended."""
        self._progress.stop()

    def begin(self, run: Run) -> None:
        """Add a bar for a run."""
        self._bars[str(run)] = self._progress.add_task(str(run), total=1.0, count="starting")

    def epoch_done(self, run: Run, epoch: EpochDone) -> None:
        """Move the bars by an epoch."""
        epochs, budget = run.settings["epochs"], run.time_budget
        share, count = epoch.epoch / epochs, f"{epoch.epoch}/{epochs} epochs"
        if budget is not None:
            share, count = max(share, epoch.seconds / budget), f"epoch {epoch.epoch}, {epoch.seconds:.0f}/{budget:g} s"
        self._shares[str(run)] = min(share, 1.0)
        self._progress.update(self._bars[str(run)], completed=self._shares[str(run)], count=count)
        self._show_all()

    def finish(self, run: Run, record: dict[str, Any]) -> None:
        """Print a finished run's result."""
        history, objective = record["history"], run.task.objective
        seconds = sum(row["train_seconds"] for row in history)
        error = history[-1]["test_error"] * objective.error_scale
        self._end(run, f"{len(history)} epochs in {seconds:.1f} s of training, {objective.error_name} {error:.4g}")

    def fail(self, run: Run, error: str) -> None:
        """Print why a run failed."""
        self._end(run, f"failed: {error}")

    def _end(self, run: Run, result: str) -> None:
        """Take the run's bar away and say what came of it."""
        self._num_over += 1
        self._shares.pop(str(run), None)
        if str(run) in self._bars:
            self._progress.remove_task(self._bars.pop(str(run)))
        self._show_all()
        self._progress.console.print(f"{run}: {result}", highlight=False, markup=False, soft_wrap=True)

    def _show_all(self) -> None:
        # In runs, each by the share of it that is done: epochs of different tasks take too different times to count.
        completed = self._num_over + sum(self._shares.values())
        self._progress.update(self._all, completed=completed, count=f"{self._num_over}/{self._num_runs} runs")
