"""Train one run: the same loop, data path and initial weights for every method."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from experiments.datasets import Data, Split
from experiments.errors import UserError
from experiments.methods.method import Context, Method
from experiments.run import Record, Run
from experiments.settings import Values
from experiments.tasks.task import Task
from learn2mix.data import InMemory

CPU = torch.device("cpu")
SMALL = 3 * 32 * 32  # numbers in an image of CIFAR


def make_optimizer(model: nn.Module, settings: Values) -> Optimizer:
    """Make the optimiser; a task without the settings ``momentum`` and ``weight_decay`` gets torch's own values.

    The momentum is Nesterov's. Weights decay where they are matrices or more: biases and norms stay as they are.
    """
    name, momentum, decay = settings["optimizer"], settings.get("momentum", 0.0), settings.get("weight_decay")
    if momentum and name != "SGD":
        raise UserError(f"--set momentum={momentum:g} is for optimizer=SGD, got optimizer={name}")
    options: dict[str, Any] = {"momentum": momentum, "nesterov": True} if momentum else {}
    parameters: list[Any] = list(model.parameters())
    if decay is not None:
        matrices, others = ([one for one in parameters if (one.ndim >= 2) == many] for many in (True, False))
        parameters = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    optimizer: Optimizer = getattr(torch.optim, name)(parameters, lr=settings["lr"], **options)
    return optimizer


def make_schedule(optimizer: Optimizer, settings: Values, num_steps: int) -> LambdaLR:
    """Make the schedule, to be stepped after each of ``num_steps`` batches; constant for a task that names none."""
    falls = settings.get("schedule", "constant") == "cosine"
    return LambdaLR(optimizer, lambda step: (1 + math.cos(math.pi * step / num_steps)) / 2 if falls else 1.0)


class Judged(NamedTuple):
    """What the model makes of samples, each of shape ``(num_samples,)``."""

    losses: Tensor
    errors: Tensor
    groups: Tensor


class Training:
    """A run in the making: the model, its optimiser, and the method with what it remembers; ``data`` are on the CPU."""

    def __init__(self, run: Run, task: Task, method: type[Method], data: Data, device: torch.device = CPU) -> None:
        self._run, self._task, self._device = run, task, device
        # Rounded down, as the authors do; what an epoch leaves over, the next one begins with.
        num_batches = max(1, len(data.train) // run.settings["batch_size"])
        self.method = method(Context(run, task, data, device, num_batches))
        # After what the method does first, so that all start from the same weights and go on with the same numbers.
        torch.manual_seed(run.seed)
        self.model = self.method.model(task.model(data, run.settings)).to(device)
        self._optimizer = make_optimizer(self.model, run.settings)
        self._schedule = make_schedule(self._optimizer, run.settings, run.settings["epochs"] * num_batches)
        train = self.method.context.data.train
        self._train = InMemory(train.inputs, train.targets, train.groups, device=device)
        self._test = data.test.to(device)
        self._num_groups = len(data.group_names)

    def epochs(self) -> Iterator[Record]:
        """Train and yield a row of the history after each epoch, the last when ``time_budget`` seconds are trained.

        ``train_seconds`` are of this epoch's training alone; other ``train_...`` numbers are of the samples as drawn,
        each before its step; ``proportions`` are the mix for the next epoch. A loss that is not finite is a UserError.
        """
        total = 0.0
        for epoch in range(1, self._run.settings["epochs"] + 1):
            started = time.perf_counter()
            seen = self.train_epoch()
            seconds = time.perf_counter() - started
            row: Record = {"epoch": epoch, "train_seconds": seconds}
            for part, judged in (("train", seen), ("test", self._test_model())):
                row[f"{part}_loss"], row[f"{part}_error"] = judged.losses.mean().item(), judged.errors.mean().item()
                row[f"{part}_by_group"] = self._group_means(judged.errors, judged.groups)
            if self._task.objective.kind == "classification":
                row["test_accuracy"] = 1 - row["test_error"]
            losses = self._group_means(seen.losses, seen.groups)
            yield {**row, "group_losses": losses, "proportions": self.method.proportions.tolist()}
            total += seconds
            if total >= self._run.settings.get("time_budget", math.inf):
                return

    def train_epoch(self) -> Judged:
        """Train on every batch of an epoch; return the samples stepped on, each as judged before its step."""
        judged: list[Judged] = []
        try:
            judged.extend(self.steps())
        except ValueError:
            # The library refuses losses that are not finite at once; other methods go on to the epoch's end.
            if judged:
                self._join(judged, "training")
            raise
        return self._join(judged, "training")

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
            yield self._judge(losses.detach(), outputs.detach(), batch)
            self._optimizer.zero_grad()
            method.loss(losses, outputs, batch).backward()
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

    @torch.no_grad()
    def _test_model(self) -> Judged:
        # At least 1,000 small samples at once; of large ones as many as in training, so that what trains can be tested.
        is_small = self._test.inputs[0].numel() <= SMALL and self._task.inputs != "tokens"
        batch_size, judged = max(self._run.settings["batch_size"], 1000 if is_small else 1), []
        self.model.eval()
        for index in torch.arange(len(self._test), device=self._device).split(batch_size):
            batch = self._test.take(index)
            outputs = self.method.adjust_outputs(self.model(batch.inputs))
            judged.append(self._judge(self._task.objective.losses(outputs, batch.targets), outputs, batch))
        return self._join(judged, "test")

    def _judge(self, losses: Tensor, outputs: Tensor, batch: Split) -> Judged:
        objective = self._task.objective
        errors = losses if objective.errors is objective.losses else objective.errors(outputs, batch.targets)
        return Judged(losses, errors, batch.groups)

    def _join(self, judged: list[Judged], part: str) -> Judged:
        """All of them in a row, on the CPU; a UserError if a loss is not finite."""
        losses, errors, groups = (torch.cat(tensors).cpu() for tensors in zip(*judged, strict=True))
        bad = losses[~losses.isfinite()]
        if len(bad):
            raise UserError(f"{self._run}: the {part} loss became {bad[0].item()}; try a lower lr")
        return Judged(losses, errors, groups)

    def _group_means(self, values: Tensor, groups: Tensor) -> list[float | None]:
        """Mean value a group; None, as JSON has no NaN, for groups without samples."""
        # Not by GroupLossMeter: to import torchmetrics takes longer than many a run, in each process again.
        sums = values.new_zeros(self._num_groups, dtype=torch.float64).index_add_(0, groups, values.double())
        means = sums / torch.bincount(groups, minlength=self._num_groups)
        return [None if math.isnan(mean) else mean for mean in means.tolist()]
