"""LDAM with deferred re-weighting (Cao et al., arXiv 1906.07413): margins for rare classes, late weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.datasets.splits import Split
from experiments.methods.classes import needs_classes
from experiments.methods.classical import ShuffledBatches
from experiments.methods.method import Batches, Method
from experiments.start import Start

if TYPE_CHECKING:
    from experiments.tasks.task import Task

# The paper's.
LARGEST_MARGIN = 0.5
SCALE = 30.0
BETA = 0.9999
DEFERRED = 0.8


class CosineLayer(nn.Module):
    """A last layer of scores that are the scaled cosines between features and each class's direction.

    Args:
        linear: whose rows the directions begin with, at length 1; its bias is dropped.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(linear.weight.detach()))

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(N, d)`` -> scores ``(N, num_classes)``."""
        return SCALE * F.linear(F.normalize(features), F.normalize(self.weight))


class LdamBatches(ShuffledBatches):
    """Plain shuffled batches, with what the loss needs to know of the run.

    Attributes:
        margins: of each class, shape ``(num_classes,)``, on the device of the run.
        weights: of each class in this epoch, the same shape.
    """

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        counts = np.array(start.data.counts(start.data.train))
        self.margins = torch.from_numpy(margins(counts)).float().to(start.device)
        self.weights = torch.ones_like(self.margins)
        self._deferred_weights = torch.from_numpy(effective_weights(counts)).float().to(start.device)
        self._epoch, self._first_weighted = 0, DEFERRED * start.settings["epochs"]

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""
        if self._epoch >= self._first_weighted:
            self.weights = self._deferred_weights
        yield from super().__iter__()
        self._epoch += 1


class LdamDrw(Method):
    r"""The cross-entropy of :math:`s (\cos \theta - \Delta)`, with the margin :math:`\Delta` off the right class alone.

    From 80 % of the epochs on, samples weigh by the effective number of their class. The scores are cosines, so the
    network's last layer is changed.
    """

    name = "ldam-drw"
    summary = (
        "margins that grow as classes get rarer, on plain shuffled batches; weighs by class from 80 % of the epochs"
    )

    def unsuitable(self, task: Task) -> str | None:
        """Without classes there are no margins between them."""
        return needs_classes(task, "keeps a margin around each class")

    def model(self, model: nn.Module) -> nn.Module:
        """Let the last layer compare directions."""
        name = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, CosineLayer(model.get_submodule(name)))
        return model

    def batches(self, start: Start) -> Batches:
        """Shuffle everything."""
        return LdamBatches(start)

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: LdamBatches) -> Tensor:
        """The weighted mean of the losses with margins."""
        del losses
        off = SCALE * F.one_hot(batch.targets, outputs.shape[1]) * batches.margins
        return F.cross_entropy(outputs - off, batch.targets, weight=batches.weights)


def margins(counts: np.ndarray) -> np.ndarray:
    """In proportion to ``counts ** -1/4``; the rarest class has 0.5.

    Example:
        >>> margins(np.array([1600, 100])).tolist()
        [0.25, 0.5]
    """
    return LARGEST_MARGIN * (counts / counts.min()) ** -0.25


def effective_weights(counts: np.ndarray) -> np.ndarray:
    """In proportion to ``(1 - beta) / (1 - beta ** counts)`` (Cui et al., arXiv 1901.05555), 1 on average."""
    weights = 1 / (1 - BETA**counts)
    return weights * len(counts) / weights.sum()
