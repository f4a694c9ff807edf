"""AnnealedMix: the source's mix at every batch, smooth, inside (0, 1), and the same in real batches."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import mixes, stepping, through_a_file, train
from learn2mix import AnnealedMix, MixedBatchSampler

LABELS = ["X"] * 5 + ["Y"] * 5
COSINE = [0.1 + 0.8 * (1 - math.cos(math.pi * t / 9)) / 2 for t in range(10)]  # the source's example


def path(mixer, num_batches, prior=(0.5, 0.5), names=("X", "Y")):
    """The mix of each batch, as a sampler asks for it."""
    mixer.attach(list(prior), list(names))
    mixed = []
    for batch in range(num_batches):
        mixer.seek(batch, epoch=0)
        mixed.append(mixer.proportions)
    return np.array(mixed)


def test_it_is_the_source_s_schedule_step_by_step():
    mixed = path(AnnealedMix([0.1, 0.9], [0.9, 0.1], num_steps=10, schedule="cosine"), 12)
    np.testing.assert_allclose(mixed[:10, 0], COSINE, rtol=0, atol=1e-15)
    assert mixed[10:].tolist() == [[0.9, 0.1]] * 2  # then it stays


def test_the_source_s_example_draws_its_shares_to_within_a_sample():
    sampler = MixedBatchSampler(
        LABELS, AnnealedMix([0.1, 0.9], [0.9, 0.1], num_steps=10, schedule="cosine"), batch_size=1
    )
    drawn_from_x = np.cumsum([index < 5 for (index,) in sampler])
    assert len(drawn_from_x) == 10
    assert np.abs(drawn_from_x - np.cumsum(COSINE)).max() < 1  # at every step of the way; the source only hopes to
    assert drawn_from_x[-1] == 5


@given(st.data())
def test_any_annealing_is_smooth_and_stays_inside(data):
    num_groups = data.draw(st.integers(2, 6))
    start, end = data.draw(mixes(num_groups)), data.draw(mixes(num_groups))
    num_steps = data.draw(st.integers(2, 40))
    name = data.draw(st.sampled_from(["linear", "cosine"]))
    mixer = AnnealedMix(start.tolist(), end.tolist(), num_steps=num_steps, schedule=name)
    mixed = path(mixer, num_steps, np.full(num_groups, 1 / num_groups), range(num_groups))
    np.testing.assert_allclose(mixed[[0, -1]], [start, end], rtol=0, atol=1e-12)  # inputs sum to 1 by rounding only
    # |B_{t+1} - B_t| <= |gamma_{t+1} - gamma_t| |X - Y|, and no schedule steps further than its steepest slope.
    largest_step = {"linear": 1, "cosine": math.pi / 2}[name] / (num_steps - 1)
    assert (np.abs(np.diff(mixed, axis=0)) <= largest_step * np.abs(end - start) + 1e-12).all()
    assert (mixed[:, (start > 0) & (end > 0)] > 0).all()  # strictly inside where both ends are
    assert np.abs(mixed.sum(1) - 1).max() <= 1e-12


def test_a_user_s_function_of_progress():
    mixed = path(AnnealedMix([1.0, 0.0], [0.0, 1.0], num_steps=5, schedule=lambda progress: progress**2), 5)
    np.testing.assert_allclose(mixed[:, 1], [0, 1 / 16, 1 / 4, 9 / 16, 1], rtol=0, atol=1e-15)


def test_ends_may_be_named():
    mixed = path(AnnealedMix(None, "uniform", num_steps=3), 3, prior=[0.75, 0.25, 0.0], names=["a", "b", "c"])
    np.testing.assert_allclose(mixed, [[0.75, 0.25, 0], [0.625, 0.375, 0], [0.5, 0.5, 0]], rtol=0, atol=1e-15)


def test_one_step_begins_at_the_end():
    assert path(AnnealedMix([1.0, 0.0], [0.25, 0.75], num_steps=1), 3).tolist() == [[0.25, 0.75]] * 3


def test_steps_are_counted_over_epochs_and_no_lag_shifts_them():
    def run(num_workers):
        sampler = MixedBatchSampler(
            LABELS * 4, AnnealedMix([1.0, 0.0], [0.0, 1.0], num_steps=21), batch_size=4, num_batches=5
        )
        return train(sampler, 25, np.ones(40), num_workers=num_workers)

    alone = run(0)
    np.testing.assert_allclose([mix[1] for _, mix in alone], [min(t / 20, 1) for t in range(25)], rtol=0, atol=1e-15)
    assert run(2) == alone


def test_a_resumed_run_goes_on_where_it_was():
    def make():
        return MixedBatchSampler(LABELS * 4, AnnealedMix([1.0, 0.0], [0.0, 1.0], num_steps=16), batch_size=4)

    whole = train(make(), 16, np.ones(40))
    stopped = make()
    steps = stepping(stopped, np.ones(40))
    _ = [next(steps) for _ in range(7)]
    resumed = make()
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    assert train(resumed, 9, np.ones(40)) == whole[7:]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_steps": 0}, ValueError, "num_steps must be at least 1, got 0"),
        ({"num_steps": 2.5}, TypeError, "num_steps must be a whole number, got 2.5"),
        ({"schedule": "sine"}, ValueError, "schedule must be one of 'linear', 'cosine'"),
        ({"schedule": lambda progress: -progress}, ValueError, r"schedule must stay in \[0, 1\], got -0.01 at"),
        ({"schedule": lambda progress: math.nan}, ValueError, r"schedule must stay in \[0, 1\], got nan"),
        ({"start": [1.0]}, ValueError, "start must have one value a group: expected 2, got 1"),
        ({"end": [0.2, 0.3, 0.5]}, ValueError, "end must have one value a group: expected 2, got 3"),
        ({"end": [0.2, 0.3]}, ValueError, "end must sum to 1, got 0.5"),
        ({"end": [1.2, -0.2]}, ValueError, "end must be finite and at least 0, got -0.2 at index 1"),
        ({"start": "balanced"}, ValueError, 'start must be None, "uniform", a vector of 2 proportions or'),
    ],
)
def test_bad_settings_are_refused(arguments, error, message):
    settings = {"start": [1.0, 0.0], "end": [0.0, 1.0], "num_steps": 10, **arguments}
    with pytest.raises(error, match=message):
        MixedBatchSampler(LABELS, AnnealedMix(**settings), batch_size=2)


def test_an_empty_group_gets_nothing():
    mixer = AnnealedMix(None, [0.5, 0.25, 0.25], num_steps=10)
    with pytest.raises(ValueError, match=r"end gives 0\.25 to group 'c', which has no samples; give it 0"):
        mixer.attach([0.5, 0.5, 0.0], ["a", "b", "c"])


def test_fewer_than_two_data_sets_are_refused():
    with pytest.raises(ValueError, match="groups must be at least 2 to be mixed, got 1"):
        MixedBatchSampler(["X"] * 5, AnnealedMix([1.0], [1.0], num_steps=10), batch_size=2)
