"""Data in the form of any task, so few that every method trains on every task in a second."""

from typing import NamedTuple

import numpy as np
import torch

from experiments.datasets import Data, Split
from experiments.methods import METHODS, Method
from experiments.methods.method import Context
from experiments.plan import settings_of
from experiments.run import Run
from experiments.tasks import Task

COUNTS = [9, 6, 2, 1]  # the last two are smaller than what SMOTE likes to see
BATCH_SIZE = 8


def tiny_data(task: Task, seed: int = 0) -> Data:
    """18 training samples in four groups, and 8 to test on."""
    rng = np.random.default_rng(seed)
    return Data(_split(task, COUNTS, rng), _split(task, [2] * 4, rng), ("a", "b", "c", "d"))


def _split(task: Task, counts: list[int], rng: np.random.Generator) -> Split:
    size = sum(counts)
    groups = torch.from_numpy(rng.permutation(np.repeat(np.arange(len(counts)), counts)))
    inputs = {
        "images": lambda: torch.from_numpy(rng.integers(0, 256, (size, 3, 32, 32), dtype=np.uint8)),
        "features": lambda: torch.from_numpy(rng.normal(size=(size, 5))).float() + groups[:, None],
        "tokens": lambda: torch.from_numpy(rng.integers(0, 50, (size, 12))),
    }[task.inputs]()
    targets = {
        "classification": lambda: groups,
        "regression": lambda: inputs.sum(dim=1),
        "reconstruction": lambda: inputs,
    }[task.objective.kind]()
    return Split(inputs, targets, groups)


class Made(NamedTuple):
    """What Training takes first: a run and its objects, also those that no registry has."""

    run: Run
    task: Task
    method: type[Method]

    def data(self) -> Data:
        return self.task.load(None, self.run.settings, np.random.default_rng(self.run.seed))

    def context(self, data: Data, num_batches: int = 2) -> Context:
        return Context(self.run, self.task, data, torch.device("cpu"), num_batches)


def run_of(task: Task, method: str | type[Method], seed: int = 0, **overrides: object) -> Made:
    """A run of one epoch, unless told otherwise, in batches of 8; also of a task or method that no registry has."""
    method = METHODS[method] if isinstance(method, str) else method
    settings = {name: setting.value for name, setting in settings_of(task, method).items()}
    return Made(
        Run(task.name, method.name, seed, {**settings, "epochs": 1, "batch_size": BATCH_SIZE, **overrides}),
        task,
        method,
    )
