"""A mixer that the library lacks, for an ablation."""

from __future__ import annotations

import numpy as np

from learn2mix import Learn2Mix
from learn2mix.mixers.info import MixInfo


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

    def update(self, losses: np.ndarray, info: MixInfo | None = None) -> None:
        """Jump to the shares of the losses."""
        super().update(losses, info)
        self._is_set = True
