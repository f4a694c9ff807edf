"""Train one run, wherever that happens: what is told on the way, and the record at the end."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from experiments.datasets.splits import Data
from experiments.environment import describe_environment
from experiments.errors import UserError
from experiments.plan import find_method
from experiments.run import Run
from experiments.tasks import Task, find_task
from experiments.training import Training
from learn2mix.extras import needs_extra

Tell = Callable[[int, float], None]  # after each epoch: its number, and the seconds of training so far


@dataclass(frozen=True)
class Conditions:
    """What all runs of a sweep have in common.

    Attributes:
        data_root: where data sets are.
        device: ``cpu`` or ``cuda``.
        threads: of torch, for each job.
        jobs: runs trained at the same time.
        command: what was asked for, for the records.
    """

    data_root: Path
    device: str = "cpu"
    threads: int = 1
    jobs: int = 1
    command: str = ""


class Outcome(NamedTuple):
    """What is to be stored of a run; of one that failed, the error in a line and all there is to know about it."""

    record: dict[str, Any] | None
    error: str = ""
    details: str = ""


def load_data(task: Task, run: Run, data_root: Path) -> Data:
    """The data of a run: they depend on the task, its settings and the seed, never on the method."""
    return task.load(data_root, run.settings, np.random.default_rng(run.seed))


def execute(run: Run, conditions: Conditions, prerequisite: dict[str, Any] | None, tell: Tell) -> Outcome:
    """Train a run and tell each epoch; an error is an outcome too, so that other runs go on."""
    torch.set_num_threads(conditions.threads)
    try:
        with needs_extra("experiments"):
            return Outcome(_train(run, conditions, prerequisite, tell))
    except UserError as error:
        return Outcome(None, str(error).removeprefix(f"{run}: "), traceback.format_exc())
    except Exception as error:
        return Outcome(None, f"{type(error).__name__}: {error}", traceback.format_exc())


def _train(run: Run, conditions: Conditions, prerequisite: dict[str, Any] | None, tell: Tell) -> dict[str, Any]:
    task = find_task(run.task, conditions.data_root)
    data = load_data(task, run, conditions.data_root)
    started = time.perf_counter()
    training = Training(run, task, find_method(run.method), data, torch.device(conditions.device), prerequisite)
    preparation_seconds = time.perf_counter() - started
    initial_proportions = training.method.proportions.tolist()
    history, seconds = [], 0.0
    for row in training.epochs(run.time_budget):
        history.append(row)
        seconds += row["train_seconds"]
        tell(row["epoch"], seconds)
    objective = task.objective
    record = {
        "task": run.task,
        "method": run.method,
        "seed": run.seed,
        "config": run.config,
        "environment": describe_environment(conditions.device, conditions.jobs),
        "command": conditions.command,
        "objective": {
            "kind": objective.kind,
            "error_name": objective.error_name,
            "scale": objective.error_scale,
        },
        "groups": {
            "names": list(data.group_names),
            "train_counts": data.counts(data.train),
            "test_counts": data.counts(data.test),
            "initial_proportions": initial_proportions,
        },
        "preparation_seconds": preparation_seconds,
        "history": history,
    }
    # A number that is not finite is this run's failure; found when it is stored, it would be the sweep's.
    json.dumps(record, allow_nan=False)
    return record
