"""Methods of the library: a mixer decides what each batch is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from experiments.context import Context
from experiments.errors import UserError
from experiments.lazily import learn2mix, np, torch
from experiments.methods.method import Method
from experiments.settings import EVERY, FRACTION, PAPER, Setting

MIXING_RATE = Setting(0.1, PAPER, FRACTION)


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
    summary = "every batch at the proportions that learn2mix ended with, which runs first"
    prerequisite = Learn2MixMethod.name

    def mixer(self) -> learn2mix.Mixer:
        record = self.context.prerequisite
        if record is None:
            run = self.context.run
            raise UserError(f"{run} needs the record of {self.prerequisite} of the same task, seed and settings")
        return learn2mix.FixedMix(record["history"][-1]["proportions"])


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
