"""Ablation of the sampling: learn2mix's proportions as weights of the losses, on batches drawn as ever."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.method import Method
from experiments.methods.mixing import Learn2MixMethod

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from experiments.datasets.splits import Split


class Reweighted(Method):
    r"""The same objective as learn2mix's, :math:`\sum_i a_i L_i`, with :math:`a_i / \tilde a_i` as weights."""

    name = "reweighted"
    summary = "learn2mix's update, but as weights of the losses on plain shuffled batches"
    settings = Learn2MixMethod.settings

    def __init__(self, context: Context) -> None:
        from learn2mix import Learn2Mix, ReweightedLoss

        super().__init__(context)
        mixer = Learn2Mix(context.settings["mixing_rate"], every=context.settings["every"])
        groups = context.data.train.groups
        self._criterion = ReweightedLoss(lambda losses: losses, mixer, groups, num_batches=context.num_batches)
        # Of the batch last drawn, on the CPU, so that no step waits for the device.
        self._groups = groups[:0]

    def batches(self) -> Iterator[list[int]]:
        """Shuffle everything."""
        for index in super().batches():
            self._groups = self.context.data.train.groups[index]
            yield index

    @property
    def proportions(self) -> np.ndarray:
        """What the next batch's losses are weighted to stand for."""
        return self._criterion.mixer.proportions

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split) -> Tensor:
        """The mean of the weighted losses; the mixer follows them."""
        del outputs, batch
        loss: Tensor = self._criterion(losses, groups=self._groups)
        return loss
