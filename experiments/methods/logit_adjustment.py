"""Logit adjustment for a long tail (Menon et al., arXiv 2007.07314): after training, or in the training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from experiments.datasets.splits import Split
from experiments.methods.classes import class_proportions, needs_classes
from experiments.methods.classical import Classical, ShuffledBatches
from experiments.methods.method import Batches
from experiments.settings import Setting
from experiments.start import Start
from learn2mix.calibration import adjust_logits

if TYPE_CHECKING:
    from experiments.tasks.task import Task

TAU = {"tau": Setting(1.0, "Menon et al., arXiv 2007.07314")}
WHAT_FOR = "moves the scores of classes by their frequency"


class LogitAdjusted(Classical):
    r"""Classical training; what the network says of the test part is corrected for the classes' frequencies.

    .. math:: f_i(x) - \tau \log \tilde a_i

    With ``tau = 1`` that is Bayes' rule from the training set's mix to a balanced one: right where the test part has
    about as many samples of every class, as those of the tasks here. The numbers of the training part stay those of
    the network as it is.
    """

    name = "logit-adjusted"
    summary = "classical, with outputs - tau log(class frequencies) when tested: for balanced test parts"
    settings = TAU

    def unsuitable(self, task: Task) -> str | None:
        """Without classes there is nothing to adjust."""
        return needs_classes(task, WHAT_FOR)

    def adjust_outputs(self, outputs: Tensor, start: Start) -> Tensor:
        """Correct the logits, up to a constant a sample, which changes no probability."""
        tempered = class_proportions(start.data) ** start.settings["tau"]
        uniform = np.full(len(tempered), 1 / len(tempered))
        return adjust_logits(outputs, prior=uniform, trained_on=tempered / tempered.sum())


class AdjustedBatches(ShuffledBatches):
    """Plain shuffled batches, with the shift of the logits.

    Attributes:
        shift: ``tau log(class proportions)``, shape ``(num_classes,)``, on the device of the run.
    """

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        shift = start.settings["tau"] * np.log(class_proportions(start.data))
        self.shift = torch.from_numpy(shift).float().to(start.device)


class LogitAdjustedLoss(Classical):
    r"""The cross-entropy of :math:`f(x) + \tau \log \tilde a`; the network is tested as it is."""

    name = "logit-adjusted-loss"
    summary = "cross-entropy of outputs + tau log(class frequencies) on plain shuffled batches"
    settings = TAU

    def unsuitable(self, task: Task) -> str | None:
        """Without classes there is nothing to adjust."""
        return needs_classes(task, WHAT_FOR)

    def batches(self, start: Start) -> Batches:
        """Shuffle everything."""
        return AdjustedBatches(start)

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: AdjustedBatches) -> Tensor:
        """The mean cross-entropy of the shifted logits."""
        del losses
        return F.cross_entropy(outputs + batches.shift, batch.targets)
