"""The sampler in a plain PyTorch loop: exact mixes and counts after scripted losses, and the lag."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import reference
from helpers import NAN, Scripted, counts_of, normalised
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [24, 10, 6]))
PRIOR = [0.6, 0.25, 0.15]


def loss_of(step: int, group: int, place: int) -> float:
    """Scripted losses: uneven between groups and within them, and a group whose loss falls to zero."""
    return [1.0 + place % 3, 0.25 * (step % 4), 8.0 / (step + 1)][group]


def places_in(groups):
    """The place of each sample of a batch, if the batch lay group after group."""
    return np.argsort(np.argsort(groups, kind="stable")).tolist()


def run(mixer, *, num_epochs=3, num_workers=0, **loader_args):
    """Train on scripted losses; the mix and the counts of every batch, and the lag after it."""
    sampler = MixedBatchSampler(LABELS, mixer, batch_size=5)
    data = range(len(LABELS))
    loader = DataLoader(data, batch_sampler=sampler, num_workers=num_workers, **loader_args)  # type: ignore[arg-type]
    trace, lags = [], []
    for _ in range(num_epochs):
        for batch in loader:
            groups = LABELS[batch].tolist()
            losses = [loss_of(len(trace), *sample) for sample in zip(groups, places_in(groups), strict=True)]
            assert sampler.lag <= loader.num_workers * (loader.prefetch_factor or 0) + 1
            sampler.observe(torch.tensor(losses, dtype=torch.float64))
            trace.append((sampler.last_observed.proportions, counts_of(batch, LABELS, 3)))
            lags.append(sampler.lag)
    return trace, lags


def assert_equals_the_reference(trace, prior=PRIOR, **settings):
    settings = {"mixing_rate": 0.3, "num_epochs": 3} | settings
    expected = reference.train(prior, loss_of, batch_size=5, num_batches=8, **settings)
    assert [counts for _, counts in trace] == [counts for _, counts in expected]
    np.testing.assert_allclose([mix for mix, _ in trace], [mix for mix, _ in expected], rtol=0, atol=1e-12)


@pytest.mark.parametrize("every", ["step", "epoch", 3, 11])
@pytest.mark.parametrize(("initial", "floor"), [(None, 0.0), ([0.55, 0.25, 0.2], 0.2)])
def test_training_without_workers_equals_the_reference(every, initial, floor):
    trace, lags = run(Learn2Mix(0.3, every=every, floor=floor, initial=initial))
    assert_equals_the_reference(trace, initial or PRIOR, every=every, floor=floor)
    assert set(lags) == {0}


@pytest.mark.parametrize("every", ["step", "epoch", 3])
@pytest.mark.parametrize("prefetch_factor", [1, 2])
def test_training_with_workers_equals_the_reference_with_their_lag(every, prefetch_factor):
    trace, lags = run(Learn2Mix(0.3, every=every), num_workers=2, prefetch_factor=prefetch_factor)
    ahead = 2 * prefetch_factor
    assert_equals_the_reference(trace, every=every, lag=ahead)
    assert lags == [min(ahead, 7 - position) for _ in range(3) for position in range(8)]


def test_persistent_workers_change_nothing():
    trace, _ = run(Learn2Mix(0.3), num_workers=2, persistent_workers=True)
    assert_equals_the_reference(trace, lag=4)


@settings(max_examples=30)
@given(st.data())
def test_any_training_equals_the_reference(data):
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    table = data.draw(st.lists(st.floats(0.01, 100), min_size=37, max_size=37))
    every = data.draw(st.sampled_from(["step", "epoch", 2, 5]))
    batch_size, rate = data.draw(st.integers(1, 12)), data.draw(st.floats(0, 1))

    def loss(step, group, place):
        return table[(7 * step + 3 * group + place) % 37]

    sampler = MixedBatchSampler(labels, Learn2Mix(rate, every=every), batch_size=batch_size, num_batches=4)
    prior = normalised(sizes)
    expected = reference.train(
        prior, loss, batch_size=batch_size, num_batches=4, num_epochs=3, mixing_rate=rate, every=every
    )
    trace = []
    for _ in range(3):
        for batch in sampler:
            mix = sampler.mixer.proportions
            groups = labels[batch].tolist()
            sampler.observe([loss(len(trace), *sample) for sample in zip(groups, places_in(groups), strict=True)])
            trace.append(mix)
    np.testing.assert_allclose(trace, [mix for mix, _ in expected], rtol=0, atol=1e-12)


def test_losses_go_to_the_oldest_batch_in_its_order():
    labels = np.array([0] * 6 + [1] * 6)
    sampler = MixedBatchSampler(
        labels, Scripted([[1, 0], [0, 1], [0.5, 0.5]]), batch_size=2, num_batches=3, order="grouped"
    )
    updates = []
    sampler.mixer.due = lambda num_batches, epoch_ended: True
    sampler.mixer.update = lambda losses: updates.append(losses.tolist())
    batches = iter(sampler)
    next(batches), next(batches), next(batches)
    assert sampler.lag == 3
    sampler.observe([1.0, 3.0])
    sampler.observe([5.0, 6.0])
    sampler.observe([7.0, 8.0])
    np.testing.assert_array_equal(updates, [[2.0, NAN], [NAN, 5.5], [7.0, 8.0]])
    assert sampler.lag == 0


def test_a_batch_without_known_losses_keeps_the_mix():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    for _ in sampler:
        sampler.observe(None)
        assert sampler.lag == 0
        assert sampler.mixer.proportions.tolist() == pytest.approx(PRIOR)


@pytest.mark.parametrize(
    "losses",
    [
        [1, 2, 3, 4, 5],
        (1.0, 2.0, 3.0, 4.0, 5.0),
        np.array([1, 2, 3, 4, 5], dtype=np.float32),
        torch.tensor([1, 2, 3, 4, 5]),
        torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float16),
        torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.bfloat16),
        torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], requires_grad=True) * 1,
    ],
    ids=lambda losses: f"{type(losses).__name__}-{getattr(losses, 'dtype', 'numbers')}",
)
def test_losses_of_any_type_are_taken(losses):
    sampler = MixedBatchSampler([0, 0, 0, 1, 1], Learn2Mix(1.0), batch_size=5, order="grouped")
    next(iter(sampler))
    sampler.observe(losses)
    assert sampler.mixer.proportions.tolist() == pytest.approx([2 / 6.5, 4.5 / 6.5])


def test_losses_that_are_all_zero_keep_the_mix():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    for _ in sampler:
        sampler.observe([0.0] * 5)
    assert sampler.mixer.proportions.tolist() == pytest.approx(PRIOR)


def test_an_epoch_is_as_long_as_the_data_or_as_asked():
    assert len(MixedBatchSampler(LABELS, FixedMix(), batch_size=5)) == 8
    assert len(MixedBatchSampler(LABELS, FixedMix(), batch_size=7)) == 6
    assert len(MixedBatchSampler(LABELS, FixedMix(), batch_size=100)) == 1
    for num_batches in (1, 3, 50):
        sampler = MixedBatchSampler(LABELS, FixedMix(), batch_size=5, num_batches=num_batches)
        assert len(sampler) == len(list(sampler)) == len(list(sampler)) == num_batches


@pytest.mark.parametrize("every", ["step", 4, "epoch"])
def test_an_update_for_which_no_losses_are_known_is_left_out(every):
    class Listens(Learn2Mix):
        def update(self, losses):
            updates.append(losses.tolist())
            super().update(losses)

    updates, sampler = [], MixedBatchSampler(LABELS, Listens(0.5, every=every), batch_size=4)
    for number, _ in enumerate(sampler):  # 10 batches; one in four is waited for from the fifth on
        sampler.observe(None if number < 4 or number == 9 else np.ones(4))
    known = {"step": 5, 4: 2, "epoch": 1}[every]
    assert len(updates) == known
    assert not np.isnan(updates).all(axis=1).any()
    losses, mix = sampler.group_losses.tolist(), sampler.mixer.proportions.tolist()
    for _ in sampler:
        sampler.observe(None)
    assert len(updates) == known
    assert (sampler.group_losses.tolist(), sampler.mixer.proportions.tolist()) == (losses, mix)
