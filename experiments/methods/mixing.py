"""Methods of the library: a mixer decides what each batch is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from torch import Tensor

from experiments.methods.method import Batches, Method
from experiments.settings import PAPER, Setting, Values
from experiments.start import Start
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, Mixer


class MixedBatches:
    """The library's sampler, under the names that the training loop uses."""

    def __init__(self, start: Start, mixer: Mixer) -> None:
        """Let ``mixer`` decide the mix of the training part."""
        self._mixer = mixer
        self._sampler = MixedBatchSampler(
            start.data.train.groups,
            mixer,
            batch_size=start.settings["batch_size"],
            num_batches=start.num_batches,
            seed=start.run.seed,
        )

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self._sampler)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""
        return iter(self._sampler)

    @property
    def proportions(self) -> np.ndarray:
        """The mix that the next batch is made of."""
        return self._mixer.proportions

    def observe(self, losses: Tensor) -> None:
        """Let the mixer see the losses."""
        self._sampler.observe(losses)


class Mixing(Method):
    """Batches composed by a mixer of the library."""

    def __init__(
        self, name: str, summary: str, mixer: Callable[[Values], Mixer], settings: Mapping[str, Setting] | None = None
    ) -> None:
        """Call ``mixer`` with the settings of a run to get the run's mixer."""
        self.name = name
        self.summary = summary
        if settings is not None:
            self.settings = settings
        self._mixer = mixer

    def batches(self, start: Start) -> Batches:
        """Compose batches as the mixer says."""
        return MixedBatches(start, self._mixer(start.settings))


_MIXING_RATE = {"mixing_rate": Setting(0.1, PAPER)}

LEARN2MIX = Mixing(
    "learn2mix",
    "the mix follows the groups' losses, as often as the setting 'every' says",
    lambda settings: Learn2Mix(settings["mixing_rate"], every=settings["every"]),
    {**_MIXING_RATE, "every": Setting("epoch", PAPER)},
)
LEARN2MIX_STEP = Mixing(
    "learn2mix-step",
    "learn2mix with the mix updated every step",
    lambda settings: Learn2Mix(settings["mixing_rate"], every="step"),
    _MIXING_RATE,
)
LEARN2MIX_EPOCH = Mixing(
    "learn2mix-epoch",
    "learn2mix with the mix updated every epoch, as in the paper",
    lambda settings: Learn2Mix(settings["mixing_rate"], every="epoch"),
    _MIXING_RATE,
)
BALANCED = Mixing("balanced", "an equal share of every group in every batch", lambda _: FixedMix("uniform"))
