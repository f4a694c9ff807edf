"""Importance sampling: of each batch drawn, step on the half that a draw by the losses picks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.method import Method

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from experiments.datasets.splits import Split
    from experiments.methods.method import Score

LEAST = 1e-12  # A sample without loss is drawn only when those with one do not suffice.


class Importance(Method):
    """Draws as many samples as any method, scores them by their losses, and steps on half of them.

    The half is drawn without replacement, each next sample with a probability in proportion to its loss in evaluation
    mode. Scoring is part of the training time. What a run records of training is of the samples stepped on, but for the
    proportions: those are of the batches drawn.
    """

    name = "importance"
    summary = "of each shuffled batch, half is kept, drawn by the losses"

    def __init__(self, context: Context) -> None:
        import torch

        super().__init__(context)
        self._generator = torch.Generator(context.device).manual_seed(context.run.seed)

    def select(self, batch: Split, score: Score) -> Split:
        """Draw half of the batch, at least one sample."""
        return batch.take(draw_by_loss(score(batch), max(1, len(batch) // 2), self._generator))


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
    return losses.nan_to_num().clamp(min=LEAST).multinomial(num_kept, replacement=False, generator=generator)
