"""Class-balanced focal loss (Lin et al., arXiv 1708.02002, with class weights as in Cui et al., arXiv 1901.05555)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from experiments.datasets.splits import Split
from experiments.methods.classes import class_proportions, needs_classes
from experiments.methods.classical import ShuffledBatches
from experiments.methods.method import Batches, Method
from experiments.settings import PAPER, Setting
from experiments.start import Start

if TYPE_CHECKING:
    from experiments.tasks.task import Task


TINY = torch.finfo(torch.float32).tiny


class FocalBatches(ShuffledBatches):
    """Plain shuffled batches, with what the loss needs to know of the run.

    Attributes:
        weights: of each class, shape ``(num_classes,)``, on the device of the run.
        focusing: the exponent.
    """

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        proportions = class_proportions(start.data)
        # So that a sample of the training set weighs 1 on average: sum_i a_i omega_i = 1.
        self.weights = torch.from_numpy(1 / (len(proportions) * proportions)).float().to(start.device)
        self.focusing = start.settings["focusing"]


class Focal(Method):
    r"""Samples of rare classes, and samples that the network is unsure of, weigh more.

    .. math:: \omega_y (1 - p)^\beta \, CE, \qquad p = e^{-CE}, \quad \omega_i = \frac{1}{k \, \tilde a_i}

    with the class proportions of the training set and ``k`` classes. ``p`` is the probability of the right class, so
    it is taken from the unweighted loss.
    """

    name = "focal"
    summary = "class-balanced focal loss on plain shuffled batches"
    settings = {"focusing": Setting(2.0, PAPER)}  # noqa: RUF012

    def unsuitable(self, task: Task) -> str | None:
        """Without classes there is no probability of the right one."""
        return needs_classes(task, "weighs a sample by the probability of its class")

    def batches(self, start: Start) -> Batches:
        """Shuffle everything."""
        return FocalBatches(start)

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: FocalBatches) -> Tensor:
        """The mean of the weighted losses."""
        del outputs
        # 1 - p, exact for p near 1, and never quite 0, where a power below 1 has no finite gradient.
        doubt = (-torch.expm1(-losses)).clamp(min=TINY)
        return (batches.weights[batch.targets] * doubt**batches.focusing * losses).mean()
