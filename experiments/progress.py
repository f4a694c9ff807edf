"""Progress of a sweep: bars in a terminal, a line a finished run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.runs import Run


class SweepProgress:
    """Shows the run that is trained, its epoch, and the time left for it and for the whole sweep."""

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        """Prepare to show ``runs``; nothing is drawn when ``console`` is no terminal."""
        self._num_done = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not console.is_terminal,
        )
        # Counted in runs: epochs of different tasks take too different times to foretell anything.
        self._all = self._progress.add_task("all", total=len(runs), unit="runs")
        self._current = self._progress.add_task("", total=None, unit="epochs")

    def __enter__(self) -> SweepProgress:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *exception: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Stop drawing, however the sweep ended."""
        self._progress.stop()

    def begin(self, run: Run) -> None:
        """Show ``run`` as the one being trained."""
        self._progress.reset(self._current, total=run.settings["epochs"], description=str(run))

    def epoch_done(self, run: Run) -> None:
        """Move the bars by an epoch."""
        self._progress.advance(self._all, 1 / run.settings["epochs"])
        self._progress.advance(self._current)

    def end(self, run: Run, history: Sequence[dict[str, Any]]) -> None:
        """Print the finished run's result."""
        # Said outright, as many small fractions do not add up to 1.
        self._num_done += 1
        self._progress.update(self._all, completed=self._num_done)
        seconds = sum(row["train_seconds"] for row in history)
        error = history[-1]["test_error"] * run.task.objective.error_scale
        self._progress.console.print(
            f"{run}: {len(history)} epochs in {seconds:.1f} s of training, {run.task.objective.error_name} {error:.4g}",
            highlight=False,
            soft_wrap=True,
        )
