"""Mixers of one's own: what a sampler makes of them, and what it refuses."""

import numpy as np
import pytest

from helpers import NAN, Scripted, counts_of
from learn2mix import MixedBatchSampler, Mixer, Partition


def test_a_mixer_that_assigns_its_mix_gives_exact_counts():
    labels = np.array([0, 1] * 8)
    sampler = MixedBatchSampler(labels, Scripted([[1, 0], [0.25, 0.75]]), batch_size=4, num_batches=2)
    assert [counts_of(batch, labels, 2) for batch in sampler] == [[4, 0], [1, 3]]


class Computed(Mixer):
    """Overrides the mix alone, as a list; it follows the batches that were read."""

    reads = 0

    @property
    def proportions(self):
        self.reads += 1
        return [[1, 0], [0.25, 0.75]][(self.reads - 1) % 2]


def test_a_mixer_that_computes_its_mix_is_read_once_a_batch():
    labels = np.array([0, 1] * 8)
    mixer = Computed()
    sampler = MixedBatchSampler(labels, mixer, batch_size=4, num_batches=2)
    assert [counts_of(batch, labels, 2) for batch in sampler] == [[4, 0], [1, 3]]
    assert mixer.reads == 2
    sampler.load_state_dict(sampler.state_dict())


class Reused(Mixer):
    """Computes its mix in an array that it uses again."""

    def __init__(self):
        self.array = np.array([1.0, 0.0])

    @property
    def proportions(self):
        self.array[:] = self.array[::-1].copy()
        return self.array


def test_a_batch_keeps_the_mix_it_was_composed_by():
    sampler = MixedBatchSampler([0, 1] * 8, Reused(), batch_size=4, num_batches=4)
    kept = []
    for _ in sampler:
        sampler.observe(None)
        kept.append(sampler.last_observed)
    assert [batch.proportions.tolist() for batch in kept] == [[0, 1], [1, 0], [0, 1], [1, 0]]


class Wrong(Mixer):
    def __init__(self, mix):
        self.mix = mix

    @property
    def proportions(self):
        return np.array(self.mix)


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ([0.5, 0.5], "Wrong.proportions must .* 3"),
        ([0.5, 0.25, 0.5], r"Wrong.proportions must .*sum to 1"),
        ([1.5, 0.0, -0.5], "Wrong.proportions must be .* -0.5"),
        ([NAN, 0.0, 1.0], "Wrong.proportions must .*nan"),
        ([0.5, 0.25, 0.25], "Wrong.proportions gives 0.25 to group 1, which has no samples"),
    ],
)
def test_a_mixer_s_own_mix_is_checked(mix, message):
    partition = Partition.by_dataset([range(4), range(0), range(4)])
    sampler = MixedBatchSampler(partition, Wrong(mix), batch_size=4)
    with pytest.raises(ValueError, match=message):
        next(iter(sampler))
    assert sampler.lag == 0
