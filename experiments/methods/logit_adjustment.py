"""Logit adjustment for a long tail (Menon et al., arXiv 2007.07314): after training, or in the training loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.method import Method
from experiments.settings import AT_LEAST_0, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.datasets.splits import Split

TAU = {"tau": Setting(1.0, "Menon et al., arXiv 2007.07314", AT_LEAST_0)}
FOR_CLASSES = "moves the scores of classes by their frequency"


class LogitAdjusted(Method):
    r"""Classical training; what the network says of the test part is corrected for the classes' frequencies.

    .. math:: f_i(x) - \tau \log \tilde a_i

    With ``tau = 1`` that is Bayes' rule from the training set's mix to a balanced one: right where the test part has
    about as many samples of every class, as those of the tasks here. The numbers of the training part stay those of
    the network as it is.
    """

    name = "logit-adjusted"
    summary = "classical, with outputs - tau log(class frequencies) when tested: for balanced test parts"
    settings = TAU
    for_classes = FOR_CLASSES

    def adjust_outputs(self, outputs: Tensor) -> Tensor:
        """Correct the logits, up to a constant a sample, which changes no probability."""
        import numpy as np

        from learn2mix.calibration import adjust_logits

        tempered = self.context.data.proportions ** self.context.settings["tau"]
        uniform = np.full(len(tempered), 1 / len(tempered))
        return adjust_logits(outputs, prior=uniform, trained_on=tempered / tempered.sum())


class LogitAdjustedLoss(Method):
    r"""The cross-entropy of :math:`f(x) + \tau \log \tilde a`; the network is tested as it is."""

    name = "logit-adjusted-loss"
    summary = "cross-entropy of outputs + tau log(class frequencies) on plain shuffled batches"
    settings = TAU
    for_classes = FOR_CLASSES

    def __init__(self, context: Context) -> None:
        import numpy as np
        import torch

        super().__init__(context)
        shift = context.settings["tau"] * np.log(context.data.proportions)
        self._shift = torch.from_numpy(shift).float().to(context.device)

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split) -> Tensor:
        """The mean cross-entropy of the shifted logits."""
        import torch.nn.functional as F

        del losses
        return F.cross_entropy(outputs + self._shift, batch.targets)
