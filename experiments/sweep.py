"""Do the runs that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from experiments import storage
from experiments.datasets.splits import Data
from experiments.environment import describe_environment
from experiments.progress import SweepProgress
from experiments.runs import Run
from experiments.training import Training


def sweep(runs: Sequence[Run], data_root: Path, out: Path, console: Console) -> None:
    """Train and store every run that is not stored in ``out`` yet, in order.

    Raises:
        UserError: before anything is trained, if a stored run was made with other settings or data are missing.
    """
    todo = [run for run in runs if not storage.is_done(out, run)]
    if len(todo) < len(runs):
        console.print(f"{len(runs) - len(todo)} of {len(runs)} runs are in {out} already", highlight=False)
    for run in {run.task.name: run for run in todo}.values():
        load_data(run, data_root)
    with SweepProgress(todo, console) as progress:
        for run in todo:
            progress.begin(run)
            record = train(run, load_data(run, data_root), progress)
            storage.write(storage.path_of(out, run), record)
            progress.end(run, record["history"])


def load_data(run: Run, data_root: Path) -> Data:
    """The data of a run: they depend on the task, its settings and the seed, never on the method."""
    return run.task.load(data_root, run.settings, np.random.default_rng(run.seed))


def train(run: Run, data: Data, progress: SweepProgress) -> storage.Record:
    """Train a run from its first to its last epoch and make the record that is stored of it."""
    training = Training(run, data)
    initial_proportions = training.batches.proportions.tolist()
    history = []
    for row in training.epochs():
        history.append(row)
        progress.epoch_done(run)
    return {
        "task": run.task.name,
        "method": run.method.name,
        "seed": run.seed,
        "config": dict(run.settings),
        "environment": describe_environment(),
        "groups": {
            "names": list(data.group_names),
            "train_counts": data.counts(data.train),
            "test_counts": data.counts(data.test),
            "initial_proportions": initial_proportions,
        },
        "history": history,
    }
