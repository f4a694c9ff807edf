"""Importance weights: sampling adaptively, the gradient stays that of the data as they are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import NAN, Scripted, mixes, train
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler
from learn2mix.functional import importance_weights

SIZES = [12, 6, 2]
LABELS = np.repeat([0, 1, 2], SIZES)
# Each sample's gradient: numbers that no accident adds up to the right sum.
GRADIENTS = torch.tensor(np.random.default_rng(0).normal(size=(20, 3)) + 5 * LABELS[:, None])
CLASSICAL = GRADIENTS.mean(0)


class TestFunction:
    def test_prior_over_proportions(self):
        weights = importance_weights([0.5, 0.25, 0.25], prior=[0.25, 0.5, 0.25])
        assert weights.tolist() == [0.5, 2.0, 1.0]
        assert weights.dtype == np.float64

    @given(st.integers(2, 6).flatmap(lambda k: st.tuples(mixes(k), mixes(k))))
    def test_drawn_at_the_mix_they_stand_for_the_prior(self, pair):
        prior, mix = pair
        mix = (mix + 0.01) / (mix + 0.01).sum()
        np.testing.assert_allclose(mix * importance_weights(mix, prior), prior, rtol=1e-12, atol=0)

    def test_a_group_that_is_in_neither_weighs_nothing(self):
        assert importance_weights([1.0, 0.0], [1.0, 0.0]).tolist() == [1.0, 0.0]

    @pytest.mark.parametrize(
        ("proportions", "prior", "message"),
        [
            ([1.0, 0.0], [0.9, 0.1], "give a share to every group with a prior, but group 1 has 0 and the prior 0.1"),
            ([0.5, 0.5], [1.0], "prior must have one value a group: expected 2, got 1"),
            ([0.5, 0.6], [0.5, 0.5], "proportions must sum to 1, got 1.1"),
            ([0.5, 0.5], [NAN, 0.5], "prior must be finite and at least 0, got nan"),
        ],
    )
    def test_what_cannot_be_weighted_is_refused(self, proportions, prior, message):
        with pytest.raises(ValueError, match=message):
            importance_weights(proportions, prior)


def weighted_gradients(sampler, num_batches, losses):
    """The weighted mean gradient of each batch, in a loop that observes."""
    found = []
    while len(found) < num_batches:
        for batch in sampler:
            weights = sampler.importance_weights()
            assert (weights.shape, weights.dtype) == ((len(batch),), torch.float32)
            found.append((GRADIENTS[batch] * weights.double()[:, None]).mean(0))
            sampler.observe(losses[batch])
    return torch.stack(found[:num_batches])


def test_over_a_full_cycle_the_gradient_is_exactly_the_classical_one():
    # 4, 4, 2 of 10: in 3 batches 12, 12, 6 draws, which are 1, 2 and 3 passes: every draw there is, equally often.
    sampler = MixedBatchSampler(LABELS, FixedMix([0.4, 0.4, 0.2]), batch_size=10, num_batches=3)
    gradients = weighted_gradients(sampler, 3, np.ones(20))
    torch.testing.assert_close(gradients.mean(0), CLASSICAL, rtol=0, atol=1e-6)  # the weights are float32
    unweighted = (0.4 * GRADIENTS[:12].mean(0) + 0.4 * GRADIENTS[12:18].mean(0) + 0.2 * GRADIENTS[18:].mean(0)).numpy()
    assert np.abs(unweighted - CLASSICAL.numpy()).max() > 1  # what it would be without


def test_shares_below_a_sample_are_made_up_over_the_cycle():
    # 4.8, 2.8 and 0.4 samples a batch: 72, 42 and 6 in 15 batches, which are 6, 7 and 3 passes.
    sampler = MixedBatchSampler(LABELS, FixedMix([0.6, 0.35, 0.05]), batch_size=8, num_batches=15)
    gradients = weighted_gradients(sampler, 15, np.ones(20))
    torch.testing.assert_close(gradients.mean(0), CLASSICAL, rtol=0, atol=1e-6)


def test_under_an_adapting_mix_the_mean_gradient_is_the_classical_one():
    losses = np.array([1.0, 2.0, 8.0])[LABELS]
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.02), batch_size=8, num_batches=2000)
    gradients = weighted_gradients(sampler, 2000, losses)
    assert sampler.mixer.proportions[2] > 0.7  # the mix did move, from 0.1
    error = (gradients.mean(0) - CLASSICAL).abs()
    assert (error <= 5 * gradients.std(0) / 2000**0.5).all()  # as for independent draws
    assert error.max() <= 0.005, error  # and better: over whole passes the draws leave no error at all


def test_the_weights_are_those_of_the_oldest_batch_that_waits():
    mixer = Scripted([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])
    sampler = MixedBatchSampler(LABELS, mixer, batch_size=4, num_batches=2, order="grouped")
    sampler.observing = True
    batches = iter(sampler)
    next(batches)
    next(batches)  # composed ahead
    assert sampler.importance_weights().tolist() == pytest.approx([1.2, 1.2, 1.2, 0.4])
    sampler.observe(np.ones(4))
    assert sampler.importance_weights().tolist() == pytest.approx([2.4, 0.6, 0.6, 0.4])
    sampler.observe(np.ones(4))
    with pytest.raises(ValueError, match="every batch handed out so far was observed"):
        sampler.importance_weights()


def test_a_loop_that_does_not_observe_is_refused():
    sampler = MixedBatchSampler(LABELS, Scripted([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]), batch_size=4, num_batches=2)
    batches = iter(sampler)
    next(batches)
    first = sampler.importance_weights().tolist()
    assert sampler.importance_weights().tolist() == first, "asked twice for one batch"
    next(batches)
    with pytest.raises(RuntimeError, match=r"was never observed; call observe\(losses\), or observe\(None\)"):
        sampler.importance_weights()


def test_each_process_gets_the_weights_of_its_own_samples():
    def weights(rank, num_replicas, batch_size):
        sampler = MixedBatchSampler(
            LABELS, FixedMix("uniform"), batch_size=batch_size, num_replicas=num_replicas, rank=rank
        )
        batch = next(iter(sampler))
        return dict(zip(batch, sampler.importance_weights().tolist(), strict=True))

    assert weights(0, 2, 4) | weights(1, 2, 4) == weights(0, 1, 8)


def test_a_mix_that_leaves_a_group_out_cannot_keep_the_objective():
    sampler = MixedBatchSampler(LABELS, FixedMix([0.5, 0.5, 0.0]), batch_size=4)
    next(iter(sampler))
    with pytest.raises(ValueError, match=r"but group 2 has 0 and the prior 0\.1"):
        sampler.importance_weights()


class TestRealisedMix:
    def test_it_is_what_was_drawn_so_far(self):
        sampler = MixedBatchSampler(LABELS, Scripted([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]), batch_size=4)
        assert np.isnan(sampler.realised).all()
        train(sampler, 2, np.ones(20))
        assert sampler.realised.tolist() == [0.25, 0.5, 0.25]
        train(sampler, 1, np.ones(20))
        assert sampler.realised.tolist() == pytest.approx([4 / 12, 6 / 12, 2 / 12])

    @pytest.mark.parametrize("observing", [True, False])
    def test_batches_composed_ahead_count_once_they_are_trained_on(self, observing):
        sampler = MixedBatchSampler(LABELS, Scripted([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]), batch_size=4)
        sampler.observing = observing
        batches = iter(sampler)
        _ = [next(batches) for _ in range(3)]
        if observing:
            sampler.observe(np.ones(4))
        assert sampler.realised.tolist() == ([1, 0, 0] if observing else [1 / 3] * 3)
        for _ in range(2 * observing):
            sampler.observe(np.ones(4))
        assert sampler.realised.tolist() == [1 / 3] * 3


@pytest.mark.parametrize("order", ["shuffled", "grouped"])
def test_the_weights_lie_in_the_order_of_the_batch(order):
    sampler = MixedBatchSampler(LABELS, FixedMix([0.25, 0.25, 0.5]), batch_size=8, order=order)
    for batch in sampler:
        assert sampler.importance_weights().tolist() == pytest.approx([[2.4, 1.2, 0.2][LABELS[i]] for i in batch])
        sampler.observe(None)
