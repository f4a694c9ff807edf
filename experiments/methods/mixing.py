"""Methods of the library: a mixer decides what each batch is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.method import Method
from experiments.settings import EVERY, FRACTION, PAPER, Setting

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from learn2mix import Mixer

MIXING_RATE = Setting(0.1, PAPER, FRACTION)


class Mixing(Method):
    """Batches composed by a mixer of the library."""

    def __init__(self, context: Context) -> None:
        from learn2mix import MixedBatchSampler

        super().__init__(context)
        self._mixer = self.mixer()
        self.sampler = MixedBatchSampler(
            context.data.train.groups,
            self._mixer,
            batch_size=context.settings["batch_size"],
            num_batches=context.num_batches,
            seed=context.run.seed,
        )

    def mixer(self) -> Mixer:
        """Make the run's mixer."""
        raise NotImplementedError

    def batches(self) -> Iterator[list[int]]:
        """Compose batches as the mixer says."""
        yield from self.sampler

    @property
    def proportions(self) -> np.ndarray:
        """The mix that the next batch is made of."""
        return self._mixer.proportions

    def observe(self, losses: Tensor) -> None:
        """Let the mixer see the losses."""
        self.sampler.observe(losses)


class Learn2MixMethod(Mixing):
    """The paper's."""

    name = "learn2mix"
    summary = "the mix follows the groups' losses, as often as the setting 'every' says"
    settings = {"mixing_rate": MIXING_RATE, "every": Setting("epoch", PAPER, EVERY)}  # noqa: RUF012

    @property
    def every(self) -> str | int:
        """How often the mix is updated."""
        every: str | int = self.context.settings["every"]
        return every

    def mixer(self) -> Mixer:
        """Follow the losses."""
        from learn2mix import Learn2Mix

        return Learn2Mix(self.context.settings["mixing_rate"], every=self.every)


class Learn2MixStep(Learn2MixMethod):
    """An update a step."""

    name = "learn2mix-step"
    summary = "learn2mix with the mix updated every step"
    settings = {"mixing_rate": MIXING_RATE}  # noqa: RUF012
    every = "step"


class Learn2MixEpoch(Learn2MixStep):
    """An update an epoch."""

    name = "learn2mix-epoch"
    summary = "learn2mix with the mix updated every epoch, as in the paper"
    every = "epoch"


class Balanced(Mixing):
    """An equal share of each group."""

    name = "balanced"
    summary = "an equal share of every group in every batch"

    def mixer(self) -> Mixer:
        """Hold equal shares."""
        from learn2mix import FixedMix

        return FixedMix("uniform")
