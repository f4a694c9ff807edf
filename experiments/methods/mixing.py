"""Methods of the library: a mixer decides what each batch is made of, and a loss may know this mix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from experiments.datasets import Split
from experiments.lazily import lazily, learn2mix, np, torch
from experiments.methods.method import Context, Method
from experiments.settings import EVERY, FRACTION, OURS, PAPER, POSITIVE, Setting, one_of

MIXING_RATE = Setting(0.1, PAPER, FRACTION)
PASSES = Setting(15.0, OURS, POSITIVE)
MIX = Setting("sqrt", OURS, one_of("prior", "sqrt", "uniform", "learn2mix"))
OBSERVED = Setting("adjusted", OURS, one_of("adjusted", "plain"))


class Mixing(Method):
    """Batches composed by a mixer of the library."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._mixer = self.mixer()
        groups, batch_size = context.data.train.groups, context.settings["batch_size"]
        self.sampler = learn2mix.MixedBatchSampler(
            groups, self._mixer, batch_size=batch_size, num_batches=context.num_batches, seed=context.run.seed
        )

    def mixer(self) -> learn2mix.Mixer:
        raise NotImplementedError

    def batches(self) -> Iterator[list[int]]:
        yield from self.sampler

    @property
    def proportions(self) -> np.ndarray:
        return self._mixer.proportions

    def observe(self, losses: torch.Tensor) -> None:
        self.sampler.observe(losses)


class Learn2MixMethod(Mixing):
    name = "learn2mix"
    summary = "the mix follows the groups' losses, as often as the setting 'every' says"
    settings = {"mixing_rate": MIXING_RATE, "every": Setting("epoch", PAPER, EVERY)}
    every: ClassVar[str] = "epoch"  # where it is no setting

    def mixer(self) -> learn2mix.Mixer:
        settings = self.context.settings
        return learn2mix.Learn2Mix(settings["mixing_rate"], every=settings.get("every", self.every))


class Learn2MixStep(Learn2MixMethod):
    name = "learn2mix-step"
    summary = "learn2mix with the mix updated every step"
    settings = {"mixing_rate": MIXING_RATE}
    every = "step"


class Learn2MixEpoch(Learn2MixStep):
    name = "learn2mix-epoch"
    summary = "learn2mix with the mix updated every epoch, as in the paper"
    every = "epoch"


class Balanced(Mixing):
    name = "balanced"
    summary = "an equal share of every group in every batch"

    def mixer(self) -> learn2mix.Mixer:
        return learn2mix.FixedMix("uniform")


class Static(Mixing):
    """Ablation of the mix's path: held, so that it is the mix itself that counts, not its following."""

    name = "static"
    summary = "every batch at the proportions that learn2mix ends with; its run of the same seed is not in the time"
    settings = Learn2MixMethod.settings

    def mixer(self) -> learn2mix.Mixer:
        one = self.context
        training = lazily("experiments.training:Training")(one.run, one.task, Learn2MixMethod, one.data, one.device)
        *_, last = training.epochs()
        return learn2mix.FixedMix(last["proportions"])


class OneShot(Mixing):
    """Ablation of the mix's path: set once, from the losses of the first epoch; a group not seen keeps its share."""

    name = "one-shot"
    summary = "the mix is set to the shares of the first epoch's losses, then held"

    def mixer(self) -> learn2mix.Mixer:
        self._following = learn2mix.Learn2Mix(mixing_rate=1.0, every="epoch")
        return self._following

    def batches(self) -> Iterator[list[int]]:
        yield from super().batches()
        self._following.mixing_rate = 0.0  # updates to come move nothing


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
