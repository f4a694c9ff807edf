"""LDAM with deferred re-weighting (Cao et al., arXiv 1906.07413): margins for rare classes, late weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.method import Method

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from experiments.datasets.splits import Split

# The paper's.
LARGEST_MARGIN = 0.5
SCALE = 30.0
BETA = 0.9999
DEFERRED = 0.8


class LdamDrw(Method):
    r"""The cross-entropy of :math:`s (\cos \theta - \Delta)`, with the margin :math:`\Delta` off the right class alone.

    From 80 % of the epochs on, samples weigh by the effective number of their class. The scores are cosines, so the
    network's last layer is changed.
    """

    name = "ldam-drw"
    summary = (
        "margins that grow as classes get rarer, on plain shuffled batches; weighs by class from 80 % of the epochs"
    )
    for_classes = "keeps a margin around each class"

    def __init__(self, context: Context) -> None:
        import numpy as np
        import torch

        super().__init__(context)
        counts = np.array(context.data.counts(context.data.train))
        self._margins = torch.from_numpy(margins(counts)).float().to(context.device)
        self._weights = torch.ones_like(self._margins)
        self._deferred_weights = torch.from_numpy(effective_weights(counts)).float().to(context.device)
        self._epoch, self._first_weighted = 0, DEFERRED * context.settings["epochs"]

    def model(self, model: nn.Module) -> nn.Module:
        """Let the last layer compare directions."""
        from torch import nn

        from experiments.models.linear import CosineLayer

        name = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
        parent, _, child = name.rpartition(".")
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        setattr(model.get_submodule(parent), child, CosineLayer(linear, SCALE))
        return model

    def batches(self) -> Iterator[list[int]]:
        """Shuffle everything; weigh from some epoch on."""
        if self._epoch >= self._first_weighted:
            self._weights = self._deferred_weights
        yield from super().batches()
        self._epoch += 1

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split) -> Tensor:
        """The weighted mean of the losses with margins."""
        import torch.nn.functional as F

        del losses
        off = SCALE * F.one_hot(batch.targets, outputs.shape[1]) * self._margins
        return F.cross_entropy(outputs - off, batch.targets, weight=self._weights)


def margins(counts: np.ndarray) -> np.ndarray:
    """In proportion to ``counts ** -1/4``; the rarest class has 0.5.

    Example:
        >>> import numpy as np
        >>> margins(np.array([1600, 100])).tolist()
        [0.25, 0.5]
    """
    relative: np.ndarray = counts / counts.min()
    scaled: np.ndarray = LARGEST_MARGIN * relative**-0.25
    return scaled


def effective_weights(counts: np.ndarray) -> np.ndarray:
    """In proportion to ``(1 - beta) / (1 - beta ** counts)`` (Cui et al., arXiv 1901.05555), 1 on average."""
    weights: np.ndarray = 1 / (1 - BETA**counts)
    scaled: np.ndarray = weights * len(counts) / weights.sum()
    return scaled
