"""Importance sampling: of each batch drawn, step on the half that a draw by the losses picks."""

from __future__ import annotations

import torch
from torch import Tensor

from experiments.datasets.splits import Split
from experiments.methods.classical import ShuffledBatches
from experiments.methods.method import Batches, Method, Score
from experiments.start import Start

LEAST = 1e-12  # A sample without loss is drawn only when those with one do not suffice.


class ImportanceBatches(ShuffledBatches):
    """Plain shuffled batches, and the random numbers for the choice of each half.

    Attributes:
        generator: on the device of the run.
    """

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self.generator = torch.Generator(start.device).manual_seed(start.run.seed)


class Importance(Method):
    """Draws as many samples as any method, scores them by their losses, and steps on half of them.

    The half is drawn without replacement, each next sample with a probability in proportion to its loss in evaluation
    mode. Scoring is part of the training time. What a run records of training is of the samples stepped on, but for the
    proportions: those are of the batches drawn.
    """

    name = "importance"
    summary = "of each shuffled batch, half is kept, drawn by the losses"

    def batches(self, start: Start) -> Batches:
        """Shuffle everything."""
        return ImportanceBatches(start)

    def select(self, batch: Split, score: Score, batches: ImportanceBatches) -> Split:
        """Draw half of the batch, at least one sample."""
        return batch.take(draw_by_loss(score(batch), max(1, len(batch) // 2), batches.generator))


def draw_by_loss(losses: Tensor, num_kept: int, generator: torch.Generator) -> Tensor:
    """Draw samples without replacement, each next one with a probability in proportion to its loss.

    Args:
        losses: shape ``(batch_size,)``, at least 0.
        num_kept: how many to draw, at most ``batch_size``.
        generator: where the draw comes from, on the device of the losses.

    Returns:
        Their places in the batch, shape ``(num_kept,)``, int64.
    """
    # A loss that is not a number is the training loop's to report; drawing must not fail on it first.
    return torch.multinomial(losses.nan_to_num().clamp(min=LEAST), num_kept, replacement=False, generator=generator)
