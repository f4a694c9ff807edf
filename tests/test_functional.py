"""The formulas, against the reference twin and as properties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import reference
from helpers import NAN, mixes, normalised
from learn2mix.checks import as_proportions, check_whole
from learn2mix.functional import apportion, raise_to_floor, update_proportions

losses_of_one = st.one_of(st.just(NAN), st.just(0.0), st.floats(1e-3, 1e3), st.floats(0, 1e308))
rates = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))


@st.composite
def steps(draw, loss=losses_of_one):
    num_groups = draw(st.integers(1, 8))
    losses = draw(st.lists(loss, min_size=num_groups, max_size=num_groups))
    return draw(mixes(num_groups)), np.array(losses), draw(rates)


@given(steps(st.one_of(st.just(NAN), st.just(0.0), st.floats(1e-3, 1e3))))
def test_update_equals_the_reference(step):
    expected = reference.update_proportions(*step)
    np.testing.assert_allclose(update_proportions(*step), expected, rtol=1e-12, atol=1e-15)


@given(steps(), st.floats(0, 1))
def test_update_with_a_floor_equals_the_reference(step, part):
    mix, losses, rate = step
    losses = np.minimum(losses, 1e3)
    floor = part / len(mix)
    mix = raise_to_floor(as_proportions(mix), floor)
    expected = reference.update_proportions(mix, losses, rate, floor)
    np.testing.assert_allclose(update_proportions(mix, losses, rate, floor=floor), expected, rtol=1e-9, atol=1e-12)


@given(steps())
def test_an_updated_mix_is_a_mix(step):
    updated = update_proportions(*step)
    assert updated.dtype == np.float64
    assert updated.min() >= 0
    assert updated.sum() == pytest.approx(1, abs=1e-12)
    as_proportions(updated)


def test_a_seen_group_without_a_share_stays_a_group_without_a_share():
    # Where the others' shares sum to a hair above 1 in floating point, nothing negative may be left for the last.
    random = np.random.default_rng(0)
    for _ in range(200):
        mix = np.append(normalised(random.random(10)), 0.0)
        assert update_proportions(mix, [NAN] * 10 + [2.0], 1.0)[-1] == 0


@given(st.integers(1, 8).flatmap(mixes), rates, st.floats(1e-3, 1e3))
def test_losses_in_proportion_to_the_mix_are_a_fixed_point(mix, rate, scale):
    np.testing.assert_allclose(update_proportions(mix, mix * scale, rate), mix, rtol=1e-12)


@given(steps())
def test_a_mixing_rate_of_0_keeps_the_mix(step):
    mix, losses, _ = step
    np.testing.assert_allclose(update_proportions(mix, losses, 0.0), mix, rtol=1e-15)


@given(steps(st.floats(1e-3, 1e3)))
def test_a_mixing_rate_of_1_jumps_to_the_shares_of_the_losses(step):
    mix, losses, _ = step
    np.testing.assert_allclose(update_proportions(mix, losses, 1.0), losses / losses.sum(), rtol=1e-12, atol=1e-15)


@given(steps())
def test_a_group_not_seen_keeps_its_share_exactly(step):
    mix, losses, rate = step
    mix = as_proportions(mix)
    unseen = np.isnan(losses)
    assert (update_proportions(mix, losses, rate)[unseen] == mix[unseen]).all()


@pytest.mark.parametrize("losses", [[0.0, 0.0, 0.0], [NAN, NAN, NAN], [NAN, 0.0, NAN]])
def test_without_a_loss_above_zero_the_mix_stays(losses):
    assert update_proportions([0.5, 0.3, 0.2], losses, 0.5).tolist() == [0.5, 0.3, 0.2]


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1.0, 5e307])
def test_only_the_ratios_of_the_losses_count(scale):
    updated = update_proportions([0.5, 0.3, 0.2], np.array([1.0, 3.0, 3.0]) * scale, 0.5)
    np.testing.assert_allclose(updated, [(0.5 + 1 / 7) / 2, (0.3 + 3 / 7) / 2, (0.2 + 3 / 7) / 2], rtol=1e-3)


@given(steps(), st.floats(0, 1))
def test_the_floor_bounds_every_share(step, part):
    mix, losses, rate = step
    floor = part / len(mix)
    mix = raise_to_floor(as_proportions(mix), floor)
    updated = update_proportions(mix, losses, rate, floor=floor)
    assert updated.min() >= floor - 1e-15
    assert updated.sum() == pytest.approx(1, abs=1e-12)


def test_a_floor_that_the_seen_groups_cannot_reach_gives_them_equal_shares():
    # As when a state saved without a floor is loaded where there is one.
    updated = update_proportions([0.94, 0.05, 0.01], [NAN, 1.0, 9.0], 0.1, floor=0.2)
    np.testing.assert_allclose(updated, [0.94, 0.03, 0.03])


@given(steps())
def test_update_does_not_change_its_arguments(step):
    mix, losses, rate = step
    before = mix.copy(), losses.copy()
    update_proportions(mix, losses, rate, floor=0.5 / len(mix))
    np.testing.assert_array_equal(mix, before[0])
    np.testing.assert_array_equal(losses, before[1])


@given(st.integers(1, 12).flatmap(mixes), st.integers(1, 300))
def test_apportion_fills_the_batch_and_stays_within_one_of_the_quota(mix, batch_size):
    counts = apportion(mix, batch_size)
    assert counts.dtype == np.int64
    assert counts.sum() == batch_size
    assert (np.abs(counts - mix * batch_size) < 1).all()
    assert (counts[mix == 0] == 0).all()


@given(st.integers(1, 12).flatmap(mixes), st.integers(1, 300))
def test_apportion_equals_largest_remainders(mix, batch_size):
    mix = as_proportions(mix)
    assert apportion(mix, batch_size).tolist() == reference.largest_remainder(mix, batch_size)


def test_equal_remainders_favour_the_earlier_group():
    assert apportion([0.25, 0.25, 0.25, 0.25], 6).tolist() == [2, 2, 1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 0.5], [1.0], 0.1), "losses must have one value a group: expected 2, got 1"),
        (([0.5, 0.5], [1.0, -2.0], 0.1), "losses must be at least 0 .* got -2.0 at index 1"),
        (([0.5, 0.5], [np.inf, 1.0], 0.1), "losses must be .* finite .* got inf at index 0"),
        (([0.5, 0.5], [[1.0, 2.0]], 0.1), r"losses must be 1-D .* got shape \(1, 2\)"),
        (([0.5, 0.5], [1.0, 2.0], 1.5), r"mixing_rate must lie in \[0, 1\], got 1.5"),
        (([0.5, 0.5], [1.0, 2.0], -0.1), r"mixing_rate must lie in \[0, 1\], got -0.1"),
        (([0.5, 0.5], [1.0, 2.0], NAN), r"mixing_rate must lie in \[0, 1\], got nan"),
        (([0.5, 0.6], [1.0, 2.0], 0.1), r"proportions must sum to 1, got 1\.1"),
        (([1.5, -0.5], [1.0, 2.0], 0.1), "proportions must be finite and at least 0, got -0.5 at index 1"),
        (([], [], 0.1), r"proportions must be 1-D with at least one value, got shape \(0,\)"),
    ],
)
def test_update_refuses_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        update_proportions(*arguments)


@pytest.mark.parametrize(
    ("proportions", "message"),
    [
        ([0.5, 0.4], "proportions must sum to 1, got 0.9"),
        ([NAN, 1.0], "proportions must be finite and at least 0, got nan at index 0"),
        ([np.inf, 1.0], "proportions must be finite and at least 0, got inf at index 0"),
        ([1.25, -0.25], "proportions must be finite and at least 0, got -0.25 at index 1"),
        (0.5, r"proportions must be 1-D with at least one value, got shape \(\)"),
        ([[1.0]], r"proportions must be 1-D with at least one value, got shape \(1, 1\)"),
    ],
)
def test_apportion_refuses_what_is_no_mix(proportions, message):
    with pytest.raises(ValueError, match=message):
        apportion(proportions, 8)


@pytest.mark.parametrize("value", [4.0, 4.5, "4", None, True, torch.tensor(4.5), np.array([4])])
def test_a_batch_size_that_is_not_whole_is_refused(value):
    with pytest.raises(TypeError, match="batch_size must be a whole number, got "):
        apportion([0.5, 0.5], value)


@pytest.mark.parametrize("value", [0, -3, np.int64(0)])
def test_a_batch_size_below_1_is_refused(value):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {value}"):
        apportion([0.5, 0.5], value)


@pytest.mark.parametrize("value", [3, np.int32(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_any_type_become_ints(value):
    number = check_whole(value, "batch_size")
    assert type(number) is int
    assert number == 3


def test_a_mix_of_another_length_is_refused():
    with pytest.raises(ValueError, match="start must have one value a group: expected 3, got 2"):
        as_proportions([0.5, 0.5], 3, "start")


@given(st.integers(1, 8).flatmap(mixes))
def test_checking_a_mix_twice_changes_nothing(mix):
    # Or a mix that is saved and loaded would not be the mix that goes on unbroken.
    once = as_proportions(mix)
    assert (as_proportions(once) == once).all()
    assert not np.shares_memory(once, mix)


@pytest.mark.parametrize(
    ("floor", "error", "message"),
    [
        (NAN, ValueError, "floor must be at least 0 and at most 1 / num_groups = 0.5, got nan"),
        (-1, ValueError, "floor must be at least 0 and at most 1 / num_groups = 0.5, got -1"),
        (0.9, ValueError, "floor must be at least 0 and at most 1 / num_groups = 0.5, got 0.9"),
        ("0.1", TypeError, "floor must be a number of at least 0 and at most 1 / num_groups, got '0.1'"),
    ],
)
def test_a_floor_that_the_groups_cannot_all_have_is_refused(floor, error, message):
    with pytest.raises(error, match=message):
        update_proportions([0.5, 0.5], [1.0, 2.0], 0.1, floor=floor)


def test_the_floor_is_shared_by_the_groups_that_can_have_one():
    """The group in the middle has no samples: no share, and no loss."""
    assert update_proportions([0.5, 0.0, 0.5], [0.0, NAN, 1.0], 1.0, floor=0.5).tolist() == [0.5, 0.0, 0.5]
