"""Class-balanced focal loss (Lin et al., arXiv 1708.02002, with class weights as in Cui et al., arXiv 1901.05555)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.method import Method
from experiments.settings import AT_LEAST_0, PAPER, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.datasets.splits import Split


class Focal(Method):
    r"""Samples of rare classes, and samples that the network is unsure of, weigh more.

    .. math:: \omega_y (1 - p)^\beta \, CE, \qquad p = e^{-CE}, \quad \omega_i = \frac{1}{k \, \tilde a_i}

    with the class proportions of the training set and ``k`` classes. ``p`` is the probability of the right class, so
    it is taken from the unweighted loss.
    """

    name = "focal"
    summary = "class-balanced focal loss on plain shuffled batches"
    settings = {"focusing": Setting(2.0, PAPER, AT_LEAST_0)}  # noqa: RUF012
    for_classes = "weighs a sample by the probability of its class"

    def __init__(self, context: Context) -> None:
        import torch

        super().__init__(context)
        proportions = context.data.proportions
        # So that a sample of the training set weighs 1 on average: sum_i a_i omega_i = 1.
        self.weights = torch.from_numpy(1 / (len(proportions) * proportions)).float().to(context.device)
        self._tiny = torch.finfo(torch.float32).tiny

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split) -> Tensor:
        """The mean of the weighted losses."""
        del outputs
        # 1 - p, exact for p near 1, and never quite 0, where a power below 1 has no finite gradient.
        doubt = (-(-losses).expm1()).clamp(min=self._tiny)
        focusing: float = self.context.settings["focusing"]
        return (self.weights[batch.targets] * doubt**focusing * losses).mean()
