"""Bad losses and settings are refused with an error that says what is wrong, and change nothing."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from helpers import NAN, same_state
from learn2mix import FixedMix, Learn2Mix, MixedBatchSampler, Partition

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [24, 10, 6]))


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ([1.0] * 4, r"losses must be one value per sample, shape \(5,\), got shape \(4,\)"),
        (torch.ones(5, 1), r"shape \(5,\), got shape \(5, 1\); give losses.squeeze\(1\)"),
        (torch.ones(1, 5), r"got shape \(1, 5\); give losses.squeeze\(0\).* MixedLoader\(stream\)"),
        (torch.ones(5, 3, 2), r"got shape \(5, 3, 2\); .* losses.flatten\(1\).mean\(1\)"),
        (
            torch.ones(15),
            r"got shape \(15,\); .* losses.view\(3, 5\).mean\(0\) .* losses.view\(5, 3\).mean\(1\) .* pass groups=",
        ),
        (torch.ones(3), r"got shape \(3,\); .* pass groups= .*; concatenate the losses of micro-batches"),
        (torch.ones(1), r'got shape \(1,\); make the criterion with reduction="none"'),
        (torch.tensor(1.0), r'got shape \(\); make the criterion with reduction="none"'),
        ([1.0, 1.0, 1.0, 1.0, -1.0], r"batch 9 has negative losses in 1 of 3 groups \(2\); the mix stays as it was"),
        ([-1, 1, 1, 1, 1], r"batch 9 has negative losses in 1 of 3 groups \(0\).*; add a constant to all, or report"),
        ([NAN, 1.0, 1.0, 1.0, 1.0], r"batch 9 has NaN or infinite losses in 1 of 3 groups \(0\).*observe\(None\)"),
        ([NAN, 1.0, 1.0, 1.0, np.inf], r"batch 9 has NaN or infinite losses in 2 of 3 groups \(0, 2\)"),
        ([5.0, -np.inf, np.inf, 1.0, 1.0], "batch 9 has .* losses in"),
    ],
)
def test_bad_losses_are_refused_and_change_nothing(losses, message):
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5, order="grouped")
    for _ in sampler:
        sampler.observe([1.0, 2.0, 3.0, 4.0, 5.0])
    for batch in (batches := iter(sampler)):
        if sampler.lag == 1 and len(set(LABELS[batch])) == 3 and sampler.state_dict()["composed"] == 9:
            break
        sampler.observe([5.0, 4.0, 3.0, 2.0, 1.0])
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=message):
        sampler.observe(losses)
    assert same_state(sampler.state_dict(), before)
    sampler.observe([1.0, 1.0, 1.0, 1.0, 1.0])
    next(batches)


def test_losses_may_be_a_list_of_scalars_with_gradients():
    sampler = MixedBatchSampler([0, 1], Learn2Mix(1.0), batch_size=2)
    list(sampler)
    sampler.observe([torch.tensor(loss, requires_grad=True) for loss in (1.0, 3.0)])
    assert sampler.mixer.proportions.tolist() == [0.25, 0.75]


def test_losses_of_more_batches_than_were_composed_are_refused():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    with pytest.raises(ValueError, match="losses: no batch has been handed out yet"):
        sampler.observe([1.0] * 5)
    next(iter(sampler))
    sampler.observe([1.0] * 5)
    before = sampler.state_dict()
    with pytest.raises(ValueError, match="losses: every batch handed out so far was observed"):
        sampler.observe([1.0] * 5)
    assert same_state(sampler.state_dict(), before)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number, got 2.5"),
        ({"num_batches": 0}, ValueError, "num_batches must be at least 1, got 0"),
        ({"num_batches": 1.0}, TypeError, "num_batches must be a whole number, got 1.0"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 1 << 64}, ValueError, r"seed must be below 2 \*\* 64, got 18446744073709551616"),
        ({"seed": "0"}, TypeError, "seed must be a whole number, got '0'"),
        ({"groups": []}, ValueError, "labels must hold at least one sample"),
        ({"groups": [3, 3, 3]}, ValueError, "groups must be at least 2 to be mixed, got 1"),
        ({"groups": [0.0, 1.0]}, TypeError, "labels must be integers or strings"),
        ({"mixer": "learn2mix"}, TypeError, "mixer must be a learn2mix.Mixer, got str"),
        ({"num_replicas": 2}, ValueError, "num_replicas and rank go together, got 2 and None"),
        ({"rank": 0}, ValueError, "num_replicas and rank go together, got None and 0"),
        ({"num_replicas": 2, "rank": 2}, ValueError, "rank must be below num_replicas = 2, got 2"),
        ({"num_replicas": 0, "rank": 0}, ValueError, "num_replicas must be at least 1, got 0"),
        ({"num_replicas": 2, "rank": -1}, ValueError, "rank must be at least 0, got -1"),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    arguments = {"groups": LABELS, "mixer": FixedMix(), "batch_size": 4} | settings
    with pytest.raises(error, match=message):
        MixedBatchSampler(arguments.pop("groups"), arguments.pop("mixer"), **arguments)


def test_the_largest_seed_draws():
    assert len(list(MixedBatchSampler(LABELS, FixedMix(), batch_size=4, seed=(1 << 64) - 1))) == 10


def test_a_refused_sampler_leaves_its_mixer_free():
    mixer = Learn2Mix(initial=[0.5, 0.5])
    with pytest.raises(ValueError, match="initial must have one value a group: expected 3, got 2"):
        MixedBatchSampler(LABELS, mixer, batch_size=4)
    assert MixedBatchSampler([0, 1, 1, 1], mixer, batch_size=4).mixer.proportions.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("skip", [1, 3, 5])
def test_a_batch_that_was_left_out_is_noticed_before_its_losses_are_taken_for_the_next_one_s(skip, num_workers):
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5, num_batches=20)
    before = None
    for step, _ in enumerate(DataLoader(LABELS, batch_sampler=sampler, num_workers=num_workers)):
        if step == skip:
            before = sampler.state_dict()
            continue
        if before is None:
            sampler.observe([1.0] * 5)
            continue
        with pytest.raises(RuntimeError, match=r"1 batch\(es\) before this one were never observed.* observe\(None\)"):
            sampler.observe([1.0] * 5)
        break
    assert before is not None
    np.testing.assert_array_equal(sampler.mixer.proportions, before["feedback"]["mixer"]["proportions"])


def test_so_is_every_second_one():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    batches = iter(sampler)
    for _ in range(2):
        next(batches)
    sampler.observe([1.0] * 5)
    for _ in range(2):
        next(batches)
    with pytest.raises(RuntimeError, match="were never observed"):
        sampler.observe([1.0] * 5)


def test_losses_may_come_late_as_long_as_all_come():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    batches = iter(sampler)
    for _ in range(2):
        for _ in range(3):
            next(batches)
        for _ in range(3):
            sampler.observe([1.0] * 5)
    assert sampler.lag == 0


def test_a_loop_that_never_observes_is_told_so_where_the_mix_follows_losses():
    sampler = MixedBatchSampler(LABELS, Learn2Mix(0.5), batch_size=5)
    with pytest.warns(
        UserWarning, match=r"Learn2Mix follows losses, but none of the 8 batches handed out was observed"
    ):
        assert len(list(sampler)) == 8
    fixed = MixedBatchSampler(LABELS, FixedMix(), batch_size=5)
    assert len([*fixed, *fixed]) == 16


def test_a_loop_that_never_observes_keeps_few_batches_where_groups_are_many():
    groups = Partition([1] * 100_000, range(100_000))
    sampler = MixedBatchSampler(groups, FixedMix(), batch_size=2, num_batches=300)
    assert len(list(sampler)) == 300
    assert sampler.lag <= 50  # each takes four vectors of 100,000 numbers
    assert sampler.realised.sum() == pytest.approx(1)
    assert sampler.draws.sum() == 300 * 2 == sum(sampler.state_dict()["draws"])
