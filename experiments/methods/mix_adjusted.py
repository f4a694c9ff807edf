"""The loss that knows its mix: cross-entropy of outputs + log of the mix of the very batch, whatever that mix is.

Balanced softmax (Ren et al., arXiv 2007.10740) and the logit-adjusted loss (Menon et al., arXiv 2007.07314) with the
batch's own mix in the place of the class frequencies. At its optimum the outputs are those of a classifier for
balanced classes; so nothing is added when the network is tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.mixing import MIXING_RATE, Mixing
from experiments.settings import OURS, POSITIVE, Setting, one_of

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.datasets.splits import Split
    from experiments.tasks.task import Task
    from learn2mix import Mixer

MEMORY = 0.9
PASSES = Setting(15.0, OURS, POSITIVE)


class MixAdjusted(Mixing):
    """The loss that knows its mix, on batches that a mixer composes."""

    name = "mix-adjusted"
    summary = "the loss that knows its mix, on a mix of choice"
    settings = {  # noqa: RUF012
        "mix": Setting("sqrt", OURS, one_of("prior", "sqrt", "uniform", "learn2mix")),
        "mixing_rate": MIXING_RATE,
    }
    for_classes = "moves the scores of classes by the batch's mix"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._adjusted: Tensor | None = None

    def mixer(self) -> Mixer:
        """Make the mixer of choice."""
        from learn2mix import FixedMix, Learn2Mix

        match self.context.settings["mix"]:
            case "prior":
                return FixedMix()
            case "sqrt":
                return FixedMix.tempered(0.5)
            case "uniform":
                return FixedMix("uniform")
        return Learn2Mix(self.context.settings["mixing_rate"], every="step")

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split) -> Tensor:
        """The mean of the adjusted losses."""
        del losses
        log_mix = self.sampler.log_mix().to(outputs.device, non_blocking=True)
        adjusted = self.context.task.objective.losses(outputs + log_mix, batch.targets)
        self._adjusted = adjusted.detach()
        return adjusted.mean()

    def observe(self, losses: Tensor) -> None:
        """Let the mixer see the losses that were trained on."""
        super().observe(losses if self._adjusted is None else self._adjusted)


class Fading(MixAdjusted):
    """Shares that fade with the passes over each class."""

    name = "fading"
    summary = "the loss that knows its mix; classes' shares fade as their samples are repeated"
    settings = {"passes": PASSES, "mixing_rate": MIXING_RATE}  # noqa: RUF012

    def mixer(self) -> Mixer:
        """Fade."""
        from learn2mix import FadingMix

        return FadingMix(self.context.settings["passes"], mixing_rate=self.context.settings["mixing_rate"])


class Learn2MixPasses(MixAdjusted):
    """Follows losses that fade with the passes over each group; without classes that is the rule with plain losses."""

    name = "learn2mix-passes"
    summary = "fading and learn2mix in one: remembered losses, times what repeats leave of a group"
    settings = {  # noqa: RUF012
        "passes": PASSES,
        "mixing_rate": MIXING_RATE,
        "observed": Setting("adjusted", OURS, one_of("adjusted", "plain")),
    }

    @classmethod
    def unsuitable(cls, task: Task) -> str | None:
        """Losses there always are."""
        return None

    def mixer(self) -> Mixer:
        """Follow, fade and remember."""
        from learn2mix import Learn2Mix

        passes, mixing_rate = self.context.settings["passes"], self.context.settings["mixing_rate"]
        return Learn2Mix(mixing_rate, every="step", initial="uniform", passes=passes, memory=MEMORY)

    def loss(self, losses: Tensor, outputs: Tensor, batch: Split) -> Tensor:
        """The mean of the adjusted losses, or of the losses as they are."""
        has_classes = self.context.task.objective.kind == "classification"
        loss = super().loss(losses, outputs, batch) if has_classes else losses.mean()
        if self.context.settings["observed"] == "plain":
            self._adjusted = None
        return loss
