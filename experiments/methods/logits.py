"""Logit adjustment (Menon et al., arXiv 2007.07314) by the classes' frequencies in the data, or in the very batch.

Cross-entropy of outputs + log of the mix, whatever that is, has its optimum at a classifier for balanced classes.
"""

from __future__ import annotations

from typing import ClassVar

from experiments.context import Context
from experiments.datasets.splits import Split
from experiments.lazily import F, learn2mix, np, torch
from experiments.methods.method import Method
from experiments.methods.mixing import MIXING_RATE, Mixing
from experiments.settings import AT_LEAST_0, OURS, POSITIVE, Setting, one_of

TAU = Setting(1.0, "Menon et al., arXiv 2007.07314", AT_LEAST_0)
PASSES = Setting(15.0, OURS, POSITIVE)
MIX = Setting("sqrt", OURS, one_of("prior", "sqrt", "uniform", "learn2mix"))
OBSERVED = Setting("adjusted", OURS, one_of("adjusted", "plain"))


class LogitAdjusted(Method):
    r"""Classical training; what the network says of the test part is corrected: :math:`f_i(x) - \tau \log \tilde a_i`.

    With ``tau = 1`` that is Bayes' rule from the training set's mix to a balanced one, as the tasks' test parts have.
    """

    name = "logit-adjusted"
    summary = "classical, with outputs - tau log(class frequencies) when tested: for balanced test parts"
    settings = {"tau": TAU}
    for_classes = "moves the scores of classes by their frequency"

    def adjust_outputs(self, outputs: torch.Tensor) -> torch.Tensor:
        from learn2mix.calibration import adjust_logits

        tempered = self.context.data.proportions ** self.context.settings["tau"]
        uniform = np.full(len(tempered), 1 / len(tempered))
        return adjust_logits(outputs, prior=uniform, trained_on=tempered / tempered.sum())


class LogitAdjustedLoss(Method):
    name = "logit-adjusted-loss"
    summary = "cross-entropy of outputs + tau log(class frequencies) on plain shuffled batches"
    settings = {"tau": TAU}
    for_classes = LogitAdjusted.for_classes

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        shift = context.settings["tau"] * np.log(context.data.proportions)
        self._shift = torch.from_numpy(shift).float().to(context.device)

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        return F.cross_entropy(outputs + self._shift, batch.targets)


class MixAdjusted(Mixing):
    name = "mix-adjusted"
    summary = "the loss that knows its mix, on a mix of choice"
    settings = {"mix": MIX, "mixing_rate": MIXING_RATE}
    for_classes: ClassVar[str | None] = "moves the scores of classes by the batch's mix"
    _adjusted: torch.Tensor | None = None

    def mixer(self) -> learn2mix.Mixer:
        mix = self.context.settings["mix"]
        if mix == "learn2mix":
            return learn2mix.Learn2Mix(self.context.settings["mixing_rate"], every="step")
        if mix == "sqrt":
            return learn2mix.FixedMix.tempered(0.5)
        return learn2mix.FixedMix("uniform" if mix == "uniform" else None)

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        log_mix = self.sampler.log_mix().to(outputs.device, non_blocking=True)
        adjusted = self.context.task.objective.losses(outputs + log_mix, batch.targets)
        self._adjusted = adjusted.detach()
        return adjusted.mean()

    def observe(self, losses: torch.Tensor) -> None:
        """Let the mixer see the losses that were trained on."""
        super().observe(losses if self._adjusted is None else self._adjusted)


class Fading(MixAdjusted):
    name = "fading"
    summary = "the loss that knows its mix; classes' shares fade as their samples are repeated"
    settings = {"passes": PASSES, "mixing_rate": MIXING_RATE}

    def mixer(self) -> learn2mix.Mixer:
        return learn2mix.FadingMix(self.context.settings["passes"], mixing_rate=self.context.settings["mixing_rate"])


class Learn2MixPasses(MixAdjusted):
    name = "learn2mix-passes"
    summary = "fading and learn2mix in one: remembered losses, times what repeats leave of a group"
    settings = {"passes": PASSES, "mixing_rate": MIXING_RATE, "observed": OBSERVED}
    for_classes = None  # without any, the mixer follows plain losses

    def mixer(self) -> learn2mix.Mixer:
        passes, mixing_rate = self.context.settings["passes"], self.context.settings["mixing_rate"]
        return learn2mix.Learn2Mix(mixing_rate, every="step", initial="uniform", passes=passes, memory=0.9)

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        has_classes = self.context.task.objective.kind == "classification"
        loss = super().loss(losses, outputs, batch) if has_classes else losses.mean()
        if self.context.settings["observed"] == "plain":
            self._adjusted = None
        return loss
