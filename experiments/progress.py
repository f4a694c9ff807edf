"""Progress of a sweep: bars in a terminal, a line a finished run elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.run import Run


class SweepProgress:
    """Shows each run that is being trained, its epoch, and the time left for it and for the whole sweep.

    Args:
        runs: to be shown.
        console: where; nothing is drawn when it is no terminal.
    """

    def __init__(self, runs: Sequence[Run], console: Console) -> None:
        self._console, self._num_runs, self._num_over = console, len(runs), 0
        self._bars: dict[str, TaskID] = {}
        self._shares: dict[str, float] = {}
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not console.is_terminal,
        )
        self._all = self.bars.add_task("all", total=self._num_runs, count=f"0/{self._num_runs} runs")

    def begin(self, run: Run) -> None:
        """Add a bar for a run."""
        self._bars[str(run)] = self.bars.add_task(str(run), total=1.0, count="starting")

    def tell(self, run: Run, epoch: int, seconds: float) -> None:
        """Move a run's bar by an epoch."""
        epochs, budget = run.settings["epochs"], run.time_budget
        share, count = epoch / epochs, f"{epoch}/{epochs} epochs"
        if budget is not None:
            share, count = max(share, seconds / budget), f"epoch {epoch}, {seconds:.0f}/{budget:g} s"
        self._shares[str(run)] = min(share, 1.0)
        self.bars.update(self._bars[str(run)], completed=self._shares[str(run)], count=count)
        self._show_all()

    def end(self, run: Run, result: str) -> None:
        """Take a run's bar away and print what came of it."""
        self._num_over += 1
        self._shares.pop(str(run), None)
        if str(run) in self._bars:
            self.bars.remove_task(self._bars.pop(str(run)))
        self._show_all()
        self._console.print(f"{run}: {result}", highlight=False, markup=False, soft_wrap=True)

    def _show_all(self) -> None:
        # In runs, each by the share of it that is done: epochs of different tasks take too different times to count.
        completed = self._num_over + sum(list(self._shares.values()))
        self.bars.update(self._all, completed=completed, count=f"{self._num_over}/{self._num_runs} runs")
