"""LDAM with deferred re-weighting (Cao et al., arXiv 1906.07413): margins for rare classes, late weights."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.context import Context
from experiments.datasets.splits import Split
from experiments.libraries import F, np, torch
from experiments.methods.method import Method

# The paper's.
LARGEST_MARGIN, SCALE, BETA, DEFERRED = 0.5, 30.0, 0.9999, 0.8


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
        super().__init__(context)
        counts = np.array(context.data.counts(context.data.train))
        # The rarest class has the largest margin; weights (Cui et al., arXiv 1901.05555) are 1 on average.
        margins, weights = LARGEST_MARGIN * (counts / counts.min()) ** -0.25, 1 / (1 - BETA**counts)
        weights = weights * len(counts) / weights.sum()
        self._margins, self._late = (torch.from_numpy(one).float().to(context.device) for one in (margins, weights))
        self._epoch, self._weights = 0, torch.ones_like(self._margins)

    def model(self, model: torch.nn.Module) -> torch.nn.Module:
        """Let the last layer compare directions."""
        from experiments.models import CosineLayer

        name, linear = [found for found in model.named_modules() if isinstance(found[1], torch.nn.Linear)][-1]
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, CosineLayer(linear, SCALE))
        return model

    def batches(self) -> Iterator[list[int]]:
        if self._epoch >= DEFERRED * self.context.settings["epochs"]:
            self._weights = self._late
        yield from super().batches()
        self._epoch += 1

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        off = SCALE * F.one_hot(batch.targets, outputs.shape[1]) * self._margins
        return F.cross_entropy(outputs - off, batch.targets, weight=self._weights)
