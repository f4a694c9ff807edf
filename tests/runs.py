"""A small run that the tests of resuming stop, leave early and go on with."""

import numpy as np

from helpers import Step, evenly_drawn, through_a_file, train
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler

NUM_BATCHES = 6
TOTAL = 3 * NUM_BATCHES + 2  # steps of a whole run: three epochs, and into the fourth
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [17, 9, 4]))
LOSSES = np.random.default_rng(1).random(30) * (1 + 3.0 * LABELS)

MIXERS = {
    "step": lambda: Learn2Mix(0.3),
    "epoch": lambda: Learn2Mix(0.3, every="epoch"),
    "three steps": lambda: Learn2Mix(0.3, every=3),
    "seven steps": lambda: Learn2Mix(0.3, every=7),
    "floor": lambda: Learn2Mix(0.5, initial="uniform", floor=0.2),
    "fixed": lambda: FixedMix("uniform"),
}


def make(mixer: str, seed: int = 5) -> MixedBatchSampler:
    return MixedBatchSampler(LABELS, MIXERS[mixer](), batch_size=5, seed=seed)


def resumed(state, mixer: str) -> MixedBatchSampler:
    """A fresh sampler, as a new process would make it, that goes on from a state; the seed comes from the state."""
    sampler = make(mixer, seed=0)
    sampler.load_state_dict(through_a_file(state))
    return sampler


def epochs_of(sampler, lengths, num_workers=0) -> list[list[Step]]:
    """Train on epochs that a loop leaves early."""
    return [train(sampler, length, LOSSES, num_workers=num_workers) for length in lengths]


def once_a_pass(steps: list[Step]) -> bool:
    """Whether no sample of a group came twice before all had come, and none was left out."""
    return evenly_drawn([indices for indices, _ in steps], LABELS)
