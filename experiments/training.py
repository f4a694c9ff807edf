"""Train one run: the same loop, data path and initial weights for every method."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from experiments.context import Context
from experiments.datasets.splits import Data, Split
from experiments.errors import UserError
from experiments.methods.method import Method
from experiments.objectives import Objective
from experiments.optimisation import make_optimizer, make_schedule
from experiments.run import Run
from experiments.tasks.task import Task
from learn2mix import GroupLossMeter
from learn2mix.data import InMemory

Row = dict[str, Any]

# Numbers in an image of CIFAR.
SMALL = 3 * 32 * 32

CPU = torch.device("cpu")


class Judged(NamedTuple):
    """Losses, errors and groups of samples, each of shape ``(num_samples,)``."""

    losses: Tensor
    errors: Tensor
    groups: Tensor


class Training:
    """A run in the making: the model, its optimiser, and the method with what it remembers.

    Args:
        run: names, seed and settings.
        task: the data, the model and the objective.
        method: how batches are made and losses joined.
        data: the task's data for the run's seed, on the CPU.
        device: where to train.
        prerequisite: the stored record of the run that the method needs first, where it names one.

    Attributes:
        model: what is trained.
        method: the method, made for this run.
    """

    def __init__(
        self,
        run: Run,
        task: Task,
        method: type[Method],
        data: Data,
        device: torch.device = CPU,
        prerequisite: Mapping[str, Any] | None = None,
    ) -> None:
        self._run, self._task, self._device = run, task, device
        # Rounded down, as the authors do; what an epoch leaves over, the next one begins with.
        num_batches = max(1, len(data.train) // run.settings["batch_size"])
        self.method = method(Context(run, task, data, device, num_batches, prerequisite))
        # Seeded after what the method does first, so that all methods start from the same weights and go on with
        # the same random numbers.
        torch.manual_seed(run.seed)
        self.model = self.method.model(task.model(data, run.settings)).to(device)
        self._optimizer = make_optimizer(self.model, run.settings)
        self._schedule = make_schedule(self._optimizer, run.settings, run.settings["epochs"] * num_batches)
        train = self.method.context.data.train
        self._train = InMemory(train.inputs, train.targets, train.groups, device=device)
        self._test = data.test.to(device)
        self._num_groups = len(data.group_names)

    def epochs(self, time_budget: float | None = None) -> Iterator[Row]:
        """Train and yield a row of the history after each epoch.

        A row's ``train_seconds`` is the time of this epoch's training alone, without evaluation and bookkeeping;
        its ``train_...`` numbers are of the samples as they were drawn, each before the step that it took part in;
        its ``proportions`` are the mix that the epoch leaves for the next one.

        Args:
            time_budget: training seconds after which the run ends with the epoch that it is in; None for no limit.

        Raises:
            UserError: if a loss stops being finite.
        """
        total = 0.0
        for epoch in range(1, self._run.settings["epochs"] + 1):
            started = time.perf_counter()
            seen = self.train_epoch()
            seconds = time.perf_counter() - started
            total += seconds
            yield {
                "epoch": epoch,
                "train_seconds": seconds,
                "train_loss": seen.losses.mean().item(),
                "train_error": seen.errors.mean().item(),
                "train_by_group": self._group_means(seen.errors, seen.groups),
                **self._evaluate(),
                "group_losses": self._group_means(seen.losses, seen.groups),
                "proportions": self.method.proportions.tolist(),
            }
            if time_budget is not None and total >= time_budget:
                return

    def train_epoch(self) -> Judged:
        """Train on every batch of an epoch; return the samples stepped on, each as judged before its step.

        Raises:
            UserError: if a loss is not finite.
        """
        judged = []
        try:
            for batch in self.steps():
                judged.append(batch)
        except ValueError:
            # The library refuses losses that are not finite at once; other methods go on to the epoch's end.
            self._check_finite(_join(judged).losses, "training")
            raise
        seen = _join(judged)
        self._check_finite(seen.losses, "training")
        return seen

    def steps(self) -> Iterator[Judged]:
        """Yield each batch of an epoch as the model judges it, and step on it when asked for the next.

        No step waits for the device: what is yielded is kept there, to be read when the epoch is over.
        """
        method, objective, augment = self.method, self._task.objective, self._task.augment
        self.model.train()
        for index in method.batches():
            batch = Split(*self._train[index])
            if augment is not None:
                batch = replace(batch, inputs=augment(batch.inputs, self._run.settings))
            batch = method.select(batch, self.score)
            outputs = self.model(batch.inputs)
            losses = objective.losses(outputs, batch.targets)
            yield _judge(objective, losses.detach(), outputs.detach(), batch)
            loss = method.loss(losses, outputs, batch)
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            self._schedule.step()
            method.observe(losses.detach())

    @torch.no_grad()
    def score(self, batch: Split) -> Tensor:
        """The loss of each sample under the model as it is, in evaluation mode, shape ``(batch_size,)``."""
        self.model.eval()
        losses = self._task.objective.losses(self.model(batch.inputs), batch.targets)
        self.model.train()
        return losses

    @property
    def _test_batch_size(self) -> int:
        """At least 1,000 small samples; of large ones as many as in training, so that what trains can be tested."""
        batch_size: int = self._run.settings["batch_size"]
        is_small = self._test.inputs[0].numel() <= SMALL and self._task.inputs != "tokens"
        return max(batch_size, 1000) if is_small else batch_size

    @torch.no_grad()
    def _evaluate(self) -> Row:
        """Loss and error on the test part; ``test_by_group`` is the error of each group."""
        objective = self._task.objective
        judged = []
        self.model.eval()
        for index in torch.arange(len(self._test), device=self._device).split(self._test_batch_size):
            batch = self._test.take(index)
            outputs = self.method.adjust_outputs(self.model(batch.inputs))
            judged.append(_judge(objective, objective.losses(outputs, batch.targets), outputs, batch))
        losses, errors, groups = _join(judged)
        self._check_finite(losses, "test")
        row: Row = {
            "test_loss": losses.mean().item(),
            "test_error": errors.mean().item(),
            "test_by_group": self._group_means(errors, groups),
        }
        if objective.has_accuracy:
            row["test_accuracy"] = 1 - row["test_error"]
        return row

    def _check_finite(self, losses: Tensor, part: str) -> None:
        bad = losses[~losses.isfinite()]
        if len(bad):
            raise UserError(f"{self._run}: the {part} loss became {bad[0].item()}; try a lower lr")

    def _group_means(self, values: Tensor, groups: Tensor) -> list[float | None]:
        """Mean value a group; None, as JSON has no NaN, for groups without samples."""
        meter = GroupLossMeter(self._num_groups)
        meter.update(values, groups)
        return [None if math.isnan(mean) else mean for mean in meter.compute().tolist()]


def _judge(objective: Objective, losses: Tensor, outputs: Tensor, batch: Split) -> Judged:
    errors = losses if objective.errors is objective.losses else objective.errors(outputs, batch.targets)
    return Judged(losses, errors, batch.groups)


def _join(judged: list[Judged]) -> Judged:
    """All of them in a row, on the CPU."""
    return Judged(*(torch.cat(tensors).cpu() for tensors in zip(*judged, strict=True)))
