"""What a mixer is told: which batches its losses are of, also where workers run ahead, and what was drawn."""

import numpy as np
import pytest
import torch

from helpers import NAN, through_a_file
from learn2mix import Learn2Mix, MixedBatchSampler, MixedLoader, MixedStream, Mixer, Partition, ReweightedLoss

LABELS = np.repeat([0, 1, 2], [60, 30, 10])


class Listens(Mixer):
    """Writes down what it is told, and asks for another mix at each update."""

    needs_losses = True

    def __init__(self, every=1):
        self.every, self.told, self.sought = every, [], []

    def seek(self, batch, epoch, info=None):
        self.sought.append((batch, epoch, info))

    def due(self, num_batches, epoch_ended):
        return num_batches >= self.every

    def update(self, losses, info=None):
        self.told.append(info)
        self.losses = losses
        shares = np.roll([0.5, 0.3, 0.2], len(self.told))
        self.proportions = shares


class ListensByName(Listens):
    def seek(self, batch, epoch, *, info=None):
        super().seek(batch, epoch, info)

    def update(self, losses, *, info=None):
        super().update(losses, info)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("every", [1, 3])
def test_it_is_told_of_the_batches_that_the_losses_are_of(num_workers, every):
    mixer = Listens(every)
    sampler = MixedBatchSampler(LABELS, mixer, batch_size=10)
    loader = MixedLoader(LABELS, sampler, num_workers=num_workers)
    batches, drawn = [], np.zeros(3, dtype=np.int64)
    for _ in range(2):
        for labels in loader:
            drawn = drawn + np.bincount(labels, minlength=3)
            sampler.observe(torch.ones(len(labels)))
            batches.append((sampler.last_observed.proportions, np.bincount(labels, minlength=3), drawn))
    assert len(mixer.told) == len(batches) // every
    for number, info in enumerate(mixer.told):
        mixes, counts, draws = zip(*batches[number * every : (number + 1) * every], strict=True)
        np.testing.assert_allclose(info.proportions, np.mean(mixes, axis=0), rtol=0, atol=1e-12)
        assert info.counts.tolist() == np.sum(counts, axis=0).tolist()
        assert info.draws.tolist() == draws[-1].tolist()
        assert info.sizes.tolist() == [60, 30, 10]
        assert (info.batch_size, info.num_updates) == (10, number)


@pytest.mark.parametrize("kind", [Listens, ListensByName])
def test_before_a_batch_it_is_told_what_was_composed_before(kind):
    mixer = kind()
    sampler = MixedBatchSampler(LABELS, mixer, batch_size=10)
    mixes, drawn = [sampler.partition.proportions], np.zeros(3, dtype=np.int64)
    for index in sampler:
        batch, epoch, info = mixer.sought[-1]
        assert (batch, epoch) == (len(mixes) - 1, 0)
        assert info.draws.tolist() == drawn.tolist()
        assert info.proportions.tolist() == mixes[-1].tolist()
        assert info.counts.tolist() == [0, 0, 0]
        drawn = drawn + np.bincount(LABELS[index], minlength=3)
        sampler.observe(torch.ones(len(index)))
        mixes.append(sampler.last_observed.proportions)
    assert [info.draws.sum() for info in mixer.told] == [10 * number for number in range(1, len(mixes))]


def test_weights_are_counts_and_tokens_pool_the_losses():
    mixer = Listens()
    sampler = MixedBatchSampler([0, 0, 1, 2], mixer, batch_size=4, order="grouped")
    next(iter(sampler))
    sampler.observe([1.0, 3.0, 5.0, 7.0], weights=[1.0, 3.0, 2.0, 0.5])
    assert mixer.losses.tolist() == [2.5, 5.0, 7.0]
    assert mixer.told[0].counts.tolist() == [4.0, 2.0, 0.5]


def test_a_stream_tells_sizes_as_far_as_it_knows_them():
    mixer = Listens()
    stream = MixedStream({"a": range(6), "b": Unsized(), "c": range(9)}, mixer, batch_size=3)
    batches = iter(stream)
    for _ in range(8):
        next(batches)
        stream.observe(torch.ones(3))
    sizes = np.array([info.sizes for info in mixer.told])
    assert sizes[:, 0].tolist() == [6] * 8
    assert np.isnan(sizes[0, 1])
    assert sizes[-1, 1] == 4  # it was read to its end


class Unsized:
    def __iter__(self):
        return iter(range(4))


def test_re_weighting_tells_the_data_s_own_mix():
    mixer = Listens()
    criterion = ReweightedLoss(torch.nn.MSELoss(reduction="none"), mixer, Partition.by_class([0, 0, 1, 2]))
    for _ in range(3):
        criterion(torch.ones(4), torch.zeros(4), groups=[0, 0, 1, 2])
    assert [info.proportions.tolist() for info in mixer.told] == [[0.5, 0.25, 0.25]] * 3
    assert mixer.told[-1].draws.tolist() == [6, 3, 3]
    assert mixer.told[-1].counts.tolist() == [2, 1, 1]


class Old(Mixer):
    """As rules were written before: it takes the losses alone."""

    needs_losses = True

    def due(self, num_batches, epoch_ended):
        return True

    def seek(self, batch, epoch):
        self.sought = batch

    def update(self, losses):
        self.proportions = np.nan_to_num(losses) / np.nansum(losses)


def test_a_rule_that_takes_the_losses_alone_goes_on_working():
    mixer = Old()
    sampler = MixedBatchSampler(LABELS, mixer, batch_size=50)
    index = next(iter(sampler))
    sampler.observe(torch.from_numpy(LABELS[index] + 1.0))
    assert mixer.proportions.tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert mixer.sought == 0


class Rewards(Mixer):
    needs_losses = signed = True

    def due(self, num_batches, epoch_ended):
        return True

    def update(self, losses, info=None):
        self.seen = losses


@pytest.mark.parametrize("value", [-2.0, 0.5])
def test_a_signed_rule_takes_values_below_zero(value):
    mixer = Rewards()
    sampler = MixedBatchSampler([0, 1] * 4, mixer, batch_size=8, order="grouped")
    next(iter(sampler))
    sampler.observe([value] * 4 + [1.0] * 4)
    assert mixer.seen.tolist() == [value, 1.0]


def test_a_signed_rule_takes_nan_no_more_than_others_and_others_no_value_below_zero():
    signed = MixedBatchSampler([0, 1] * 4, Rewards(), batch_size=8, order="grouped")
    next(iter(signed))
    with pytest.raises(ValueError, match="NaN or infinite"):
        signed.observe([NAN] * 4 + [1.0] * 4)
    unsigned = MixedBatchSampler([0, 1] * 4, Learn2Mix(), batch_size=8)
    next(iter(unsigned))
    with pytest.raises(ValueError, match="negative"):
        unsigned.observe([-2.0] * 8)


class Hides(Mixer):
    """Keeps its settings under other names, and its state by itself."""

    def __init__(self, rate, *, shape=(1, 2), table=None):
        self._rate = rate

    def state_dict(self):
        return super().state_dict() | {"own": 1}


class Forgets(Mixer):
    """Has a state that is all its own."""

    def __init__(self, rate=0.1):
        self.rate = rate

    def state_dict(self):
        return {"mix": self.proportions.tolist()}

    def load_state_dict(self, state):
        assert set(state) == {"mix"}
        self.proportions = state["mix"]


def test_settings_are_saved_for_a_rule_that_leaves_them_out():
    old, new = (MixedBatchSampler([0, 1] * 4, Forgets(rate), batch_size=4) for rate in (0.5, 0.25))
    old.mixer.proportions = [0.75, 0.25]
    with pytest.warns(UserWarning, match=r"rate: 0.5 in the state, 0.25 here"):
        new.load_state_dict(through_a_file(old.state_dict()))
    assert new.mixer.proportions.tolist() == [0.75, 0.25]


def test_settings_are_in_a_state_whatever_the_constructor_makes_of_them():
    mixer = Hides(0.5, table=np.array([1.0, 2.0]))
    mixer.attach([0.5, 0.5], ["a", "b"])
    state = through_a_file(mixer.state_dict())
    assert state["settings"] == {"rate": 0.5, "shape": [1, 2], "table": [1.0, 2.0]}
    other = Hides(0.25, table=np.array([1.0, 2.0]))
    other.attach([0.5, 0.5], ["a", "b"])
    with pytest.warns(UserWarning, match=r"rate: 0.5 in the state, 0.25 here"):
        other.load_state_dict(state)


def test_what_a_sampler_tells_of_its_batches_cannot_be_written_to():
    """These arrays are those that later batches are composed by."""
    sampler = MixedBatchSampler([0] * 6 + [1] * 2, Learn2Mix(), batch_size=4)
    for batch in sampler:
        sampler.observe(1.0 + np.array(batch))
    told = [sampler.draws, sampler.newest_proportions, sampler.group_losses]
    told += [value for value in sampler.last_observed if isinstance(value, np.ndarray)]
    assert len(told) == 10
    for array in told:
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
