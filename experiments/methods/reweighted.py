"""Ablation of the sampling: learn2mix's proportions as weights of the losses, on batches drawn as ever."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from experiments.datasets.splits import Split
from experiments.methods.classical import ShuffledBatches
from experiments.methods.method import Batches, Method
from experiments.methods.mixing import LEARN2MIX
from experiments.start import Start
from learn2mix import Learn2Mix, ReweightedLoss


class ReweightedBatches(ShuffledBatches):
    """Plain shuffled batches, and a loss whose mixer follows them.

    Attributes:
        criterion: takes per-sample losses and their groups.
        groups: of the batch last drawn, shape ``(batch_size,)``, on the CPU, so that no step waits for the device.
    """

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        mixer = Learn2Mix(start.settings["mixing_rate"], every=start.settings["every"])
        self._all_groups = start.data.train.groups
        self.criterion = ReweightedLoss(lambda losses: losses, mixer, self._all_groups, num_batches=start.num_batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""
        for index in super().__iter__():
            self.groups = self._all_groups[index]
            yield index

    @property
    def proportions(self) -> np.ndarray:
        """What the next batch's losses are weighted to stand for."""
        return self.criterion.mixer.proportions


class Reweighted(Method):
    r"""The same objective as learn2mix's, :math:`\sum_i a_i L_i`, with :math:`a_i / \tilde a_i` as weights."""

    name = "reweighted"
    summary = "learn2mix's update, but as weights of the losses on plain shuffled batches"
    settings = LEARN2MIX.settings

    def batches(self, start: Start) -> Batches:
        """Shuffle everything."""
        return ReweightedBatches(start)

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: ReweightedBatches) -> Tensor:
        """The mean of the weighted losses; the mixer follows them."""
        del outputs, batch
        return batches.criterion(losses, groups=batches.groups)
