"""Train one run: the same loop, data path and initial weights for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from experiments.datasets.splits import Data, Split
from experiments.errors import UserError
from experiments.objectives import Objective
from experiments.runs import Run
from learn2mix import GroupLossMeter

Row = dict[str, Any]

EVALUATION_BATCH = 2000


class Training:
    """A run in the making: the model, its optimiser and where its batches come from.

    Attributes:
        batches: the source of the batches, which owns the mix.
    """

    def __init__(self, run: Run, data: Data) -> None:
        """Start a run.

        Args:
            run: what to train.
            data: the task's data for the run's seed.
        """
        # The model comes first after the seed, so that every method starts from the same weights.
        torch.manual_seed(run.seed)
        self._model = run.task.model(data)
        self._optimizer = getattr(torch.optim, run.settings["optimizer"])(
            self._model.parameters(), lr=run.settings["lr"]
        )
        self._run = run
        self._data = run.method.before_training(data, run.settings, run.seed)
        self.batches = run.method.batches(self._data, run.settings, run.seed)

    def epochs(self) -> Iterator[Row]:
        """Train and yield a row of the history after each epoch.

        A row's ``train_seconds`` is the time of this epoch's training alone, without evaluation and bookkeeping;
        its ``proportions`` are the mix that the epoch leaves for the next one.

        Raises:
            UserError: if the loss stops being finite.
        """
        num_groups = len(self._data.group_names)
        for epoch in range(1, self._run.settings["epochs"] + 1):
            started = time.perf_counter()
            losses, groups = self._train_epoch()
            seconds = time.perf_counter() - started
            yield {
                "epoch": epoch,
                "train_seconds": seconds,
                "train_loss": losses.mean().item(),
                **_evaluate(self._model, self._data.test, self._run.task.objective, num_groups),
                "group_losses": _group_means(losses, groups, num_groups),
                "proportions": self.batches.proportions.tolist(),
            }

    def _train_epoch(self) -> tuple[Tensor, Tensor]:
        """Train on every batch of an epoch; return the losses of all samples seen, and their groups."""
        self._model.train()
        seen_losses, seen_groups = [], []
        for index in self.batches:
            batch = self._data.train.take(torch.as_tensor(index))
            outputs = self._model(batch.inputs)
            losses = self._run.task.objective.losses(outputs, batch.targets)
            loss = self._run.method.loss(losses, outputs, batch, self.batches)
            if not torch.isfinite(loss):
                raise UserError(f"{self._run}: the training loss became {loss.item()}; try a lower lr")
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self.batches.observe(losses.detach())
            seen_losses.append(losses.detach())
            seen_groups.append(batch.groups)
        return torch.cat(seen_losses), torch.cat(seen_groups)


@torch.no_grad()
def _evaluate(model: nn.Module, samples: Split, objective: Objective, num_groups: int) -> Row:
    """Loss and error on the test part; ``test_by_group`` is the error of each group."""
    model.eval()
    outputs = torch.cat([model(inputs) for inputs in samples.inputs.split(EVALUATION_BATCH)])
    errors = objective.errors(outputs, samples.targets)
    row: Row = {
        "test_loss": objective.losses(outputs, samples.targets).mean().item(),
        "test_error": errors.mean().item(),
        "test_by_group": _group_means(errors, samples.groups, num_groups),
    }
    if objective.has_accuracy:
        row["test_accuracy"] = 1 - row["test_error"]
    return row


def _group_means(values: Tensor, groups: Tensor, num_groups: int) -> list[float | None]:
    """Mean value a group; None, as JSON has no NaN, for groups without samples."""
    meter = GroupLossMeter(num_groups)
    meter.update(values, groups)
    return [None if math.isnan(mean) else mean for mean in meter.compute().tolist()]
