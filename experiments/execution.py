"""Train one run, step by step, wherever that happens: what is told on the way, and the record at the end."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from experiments.datasets.splits import Data
from experiments.environment import describe_environment
from experiments.errors import UserError
from experiments.runs import Run
from experiments.training import Row, Training


@dataclass(frozen=True)
class Conditions:
    """What all runs of a sweep have in common.

    Attributes:
        data_root: where data sets are.
        device: ``cpu`` or ``cuda``.
        threads: of torch, for each job.
        jobs: runs trained at the same time.
    """

    data_root: Path
    device: str = "cpu"
    threads: int = 1
    jobs: int = 1


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over: its number, and the seconds of training so far."""

    epoch: int
    seconds: float


@dataclass(frozen=True)
class Finished:
    """The run is over; what is to be stored of it."""

    record: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    """The run cannot be finished: the error in a line, and all there is to know about it."""

    error: str
    details: str


Event = EpochDone | Finished | Failed


def load_data(run: Run, data_root: Path) -> Data:
    """The data of a run: they depend on the task, its settings and the seed, never on the method."""
    return run.task.load(data_root, run.settings, np.random.default_rng(run.seed))


def execute(run: Run, conditions: Conditions, prerequisite: dict[str, Any] | None) -> Iterator[Event]:
    """Train a run and tell each epoch, then how it ended; an error is an event too, so that other runs go on."""
    torch.set_num_threads(conditions.threads)
    try:
        yield from _train(run, conditions, prerequisite)
    except UserError as error:
        yield Failed(str(error).removeprefix(f"{run}: "), traceback.format_exc())
    except Exception as error:
        yield Failed(f"{type(error).__name__}: {error}", traceback.format_exc())


def _train(run: Run, conditions: Conditions, prerequisite: dict[str, Any] | None) -> Iterator[Event]:
    data = load_data(run, conditions.data_root)
    started = time.perf_counter()
    training = Training(run, data, torch.device(conditions.device), prerequisite)
    preparation_seconds = time.perf_counter() - started
    initial_proportions = training.batches.proportions.tolist()
    history: list[Row] = []
    seconds = 0.0
    for row in training.epochs(run.time_budget):
        history.append(row)
        seconds += row["train_seconds"]
        yield EpochDone(row["epoch"], seconds)
    record = {
        "task": run.task.name,
        "method": run.method.name,
        "seed": run.seed,
        "config": run.config,
        "environment": describe_environment(conditions.device, conditions.jobs),
        "objective": {
            "kind": run.task.objective.kind,
            "error_name": run.task.objective.error_name,
            "scale": run.task.objective.error_scale,
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
    yield Finished(record)
