"""The loss that knows its mix: cross-entropy of outputs + log of the mix of the very batch, whatever that mix is.

Balanced softmax (Ren et al., arXiv 2007.10740) and the logit-adjusted loss (Menon et al., arXiv 2007.07314) with the
batch's own mix in the place of the class frequencies. At its optimum the outputs are those of a classifier for
balanced classes; so nothing is added when the network is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from experiments.datasets.splits import Split
from experiments.methods.classes import needs_classes
from experiments.methods.method import Batches, Method
from experiments.methods.mixing import MixedBatches
from experiments.settings import OURS, PAPER, Setting, Values
from experiments.start import Start
from learn2mix import FadingMix, FixedMix, Learn2Mix, Mixer

if TYPE_CHECKING:
    from experiments.tasks.task import Task

MEMORY = 0.9

MIXES: Mapping[str, Callable[[Values], Mixer]] = {
    "prior": lambda _: FixedMix(),
    "sqrt": lambda _: FixedMix.tempered(0.5),
    "uniform": lambda _: FixedMix("uniform"),
    "learn2mix": lambda settings: Learn2Mix(settings["mixing_rate"], every="step"),
}


class AdjustedBatches(MixedBatches):
    """Batches composed by a mixer, and the losses that know their mix.

    Args:
        start: of the run.
        mixer: decides the mix.
        observed: which losses the mixer sees, "adjusted" or "plain".
    """

    def __init__(self, start: Start, mixer: Mixer, observed: str = "adjusted") -> None:
        super().__init__(start, mixer)
        self._sees_adjusted = observed == "adjusted"
        self._adjusted: Tensor | None = None

    def adjusted_losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Losses of the batch being trained on, shape ``(batch_size,)``."""
        log_mix = self._sampler.log_mix().to(outputs.device, non_blocking=True)
        losses = F.cross_entropy(outputs + log_mix, targets, reduction="none")
        if self._sees_adjusted:
            self._adjusted = losses.detach()
        return losses

    def observe(self, losses: Tensor) -> None:
        """Let the mixer see the adjusted losses, where there are any and it is to see them."""
        super().observe(losses if self._adjusted is None else self._adjusted)


class MixAdjusted(Method):
    """The loss that knows its mix, on batches that a mixer composes."""

    def __init__(self, name: str, summary: str, mixer: Callable[[Values], Mixer], **settings: Setting) -> None:
        """Call ``mixer`` with the settings of a run to get the run's mixer."""
        self.name, self.summary, self.settings = name, summary, settings
        self._mixer = mixer

    def unsuitable(self, task: Task) -> str | None:
        """Without classes there are no scores to correct."""
        return needs_classes(task, "moves the scores of classes by the batch's mix")

    def batches(self, start: Start) -> Batches:
        """Compose batches as the mixer says."""
        return AdjustedBatches(start, self._mixer(start.settings), start.settings.get("observed", "adjusted"))

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: AdjustedBatches) -> Tensor:
        """The mean of the adjusted losses."""
        del losses
        return batches.adjusted_losses(outputs, batch.targets).mean()


class Learn2MixPasses(MixAdjusted):
    """Follows losses that fade with the passes over each group; without classes that is the rule with plain losses."""

    def unsuitable(self, task: Task) -> str | None:
        """Losses there always are."""
        return None

    def batches(self, start: Start) -> Batches:
        """Compose batches as the mixer says."""
        mixer = self._mixer(start.settings)
        if start.run.task.objective.kind != "classification":
            return MixedBatches(start, mixer)
        return AdjustedBatches(start, mixer, start.settings["observed"])

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split, batches: MixedBatches) -> Tensor:
        """The mean of the adjusted losses, or of the losses as they are."""
        return super().loss(losses, outputs, batch, batches) if isinstance(batches, AdjustedBatches) else losses.mean()


_MIXING_RATE = Setting(0.1, PAPER)
_PASSES = Setting(15.0, OURS)

FADING = MixAdjusted(
    "fading",
    "the loss that knows its mix; classes' shares fade as their samples are repeated",
    lambda settings: FadingMix(settings["passes"], mixing_rate=settings["mixing_rate"]),
    passes=_PASSES,
    mixing_rate=_MIXING_RATE,
)
LEARN2MIX_PASSES = Learn2MixPasses(
    "learn2mix-passes",
    "fading and learn2mix in one: remembered losses, times what repeats leave of a group",
    lambda settings: Learn2Mix(
        settings["mixing_rate"], every="step", initial="uniform", passes=settings["passes"], memory=MEMORY
    ),
    passes=_PASSES,
    mixing_rate=_MIXING_RATE,
    observed=Setting("adjusted", OURS),
)
MIX_ADJUSTED = MixAdjusted(
    "mix-adjusted",
    "the loss that knows its mix, on a mix of choice",
    lambda settings: MIXES[settings["mix"]](settings),
    mix=Setting("sqrt", OURS),
    mixing_rate=_MIXING_RATE,
)
