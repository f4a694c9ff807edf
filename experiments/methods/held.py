"""Ablations of the mix's path: set once and held, so that it is the mix itself that counts, not its following."""

from __future__ import annotations

import numpy as np

from experiments.errors import UserError
from experiments.methods.method import Batches, Method
from experiments.methods.mixing import LEARN2MIX, MixedBatches
from experiments.start import Start
from learn2mix import FixedMix, Learn2Mix


class Static(Method):
    """Every batch at the proportions with which learn2mix ended on the same task, seed and settings."""

    name = "static"
    summary = "every batch at the proportions that learn2mix ended with, which runs first"
    prerequisite = LEARN2MIX.name

    def batches(self, start: Start) -> Batches:
        """Compose batches at the proportions of the record."""
        if start.prerequisite is None:
            raise UserError(f"{start.run} needs the record of {self.prerequisite} of the same task, seed and settings")
        return MixedBatches(start, FixedMix(start.prerequisite["history"][-1]["proportions"]))


class OneShotMix(Learn2Mix):
    """The data's own proportions for an epoch; then, for good, the shares of that epoch's losses.

    A group without a sample in that epoch keeps its share.
    """

    def __init__(self) -> None:
        super().__init__(mixing_rate=1.0, every="epoch")
        self._is_set = False

    def due(self, num_batches: int, epoch_ended: bool) -> bool:
        """Once, when the first epoch ends."""
        return epoch_ended and not self._is_set

    def update(self, losses: np.ndarray) -> None:
        """Jump to the shares of the losses."""
        super().update(losses)
        self._is_set = True


class OneShot(Method):
    """The mix is set once, from the losses of the first epoch."""

    name = "one-shot"
    summary = "the mix is set to the shares of the first epoch's losses, then held"

    def batches(self, start: Start) -> Batches:
        """Compose batches as the mixer says."""
        return MixedBatches(start, OneShotMix())
