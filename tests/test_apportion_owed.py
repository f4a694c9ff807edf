"""Law 1 in numbers: handing out batches with carried remainders, and the bounds that are proven for it."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reference
from helpers import mixes, round_mixes
from learn2mix.apportioning import smallest
from learn2mix.functional import apportion_owed


def harmonic(num_groups: int) -> Fraction:
    return sum((Fraction(1, n) for n in range(1, num_groups + 1)), Fraction(0))


@st.composite
def paths(draw, kind):
    num_groups, batch_size = draw(st.integers(2, 7)), draw(st.integers(1, 40))
    return batch_size, draw(st.lists(kind(num_groups), min_size=1, max_size=40))


def follow(path, batch_size):
    """Yield what each batch owes, what it hands out, and what is carried on."""
    credit = np.zeros(len(path[0]))
    for mix in path:
        owed = credit + mix * batch_size
        counts = apportion_owed(owed, batch_size)
        credit = owed - counts
        yield owed, counts, credit


@given(st.one_of(paths(mixes), paths(round_mixes)))
def test_handing_out_equals_one_sample_at_a_time(case):
    batch_size, path = case
    for owed, counts, _ in follow(path, batch_size):
        assert counts.tolist() == reference.apportion_owed(owed, batch_size)


@pytest.mark.parametrize("batch_size", [7, 300, 1500])
@pytest.mark.parametrize("num_groups", [511, 512, 700])
def test_also_of_many_groups_many_of_which_are_owed_the_same(num_groups, batch_size):
    random = np.random.default_rng(num_groups + batch_size)
    path = []
    for _ in range(4):
        weights = random.integers(0, 4, num_groups) * 2.0 ** random.integers(-3, 8)
        weights[: num_groups // 2] *= random.integers(0, 2)
        path.append((weights + (np.arange(num_groups) == 3)) / (weights.sum() + 1))
    for owed, counts, _ in follow([np.full(num_groups, 1 / num_groups), *path], batch_size):
        assert counts.tolist() == reference.apportion_owed(owed, batch_size)


@st.composite
def many_values(draw):
    """More values than are simply sorted; of few kinds or many, and regular in ways that mislead a sample of them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    length = draw(st.integers(512, 3000))
    values = random.random(length) if draw(st.booleans()) else random.integers(0, draw(st.integers(1, 9)), length) / 8
    every = length // 256  # where the sample is taken
    special = draw(st.sampled_from([None, 0.0, 2.0, -np.inf]))
    if special is not None:
        values[:: draw(st.sampled_from([every, 2 * every, 7]))] = special
    return np.sort(values) if draw(st.booleans()) else values, draw(st.integers(1, length))


@given(many_values())
@settings(max_examples=300)
def test_the_smallest_of_many_values_are_those_that_sorting_finds(case):
    values, number = case
    assert sorted(smallest(values, number)) == sorted(values.argsort(kind="stable")[:number])


@pytest.mark.parametrize(
    ("owed", "counts"),
    [
        ([2.0, 2.0, 4.0], [2, 2, 4]),  # nothing to round
        ([1.5, 1.5, 1.0], [2, 1, 1]),  # a tie: the earlier group
        ([-0.5, 2.0, 2.5], [0, 2, 2]),  # a group that is ahead waits
        ([-0.75, -0.5, 1.25, 2.0], [0, 0, 1, 1]),  # two are ahead, and there is less than the whole samples owed
        ([-0.75, -0.75, -0.5, 1.0, 1.0, 1.0, 0.0], [0, 0, 0, 1, 0, 0, 0]),  # a tie among those that must wait
        ([-0.9, -0.9, -0.9, 3.7], [0, 0, 0, 1]),  # two samples less than the whole ones owed to one group
        ([0.0, 1.0], [0, 1]),  # an empty group
    ],
)
def test_handing_out_by_hand(owed, counts):
    batch_size = sum(counts)
    assert apportion_owed(np.array(owed), batch_size).tolist() == counts
    assert reference.apportion_owed(owed, batch_size) == counts


@given(st.one_of(paths(mixes), paths(round_mixes)))
def test_every_batch_is_filled_and_no_group_is_far_from_its_summed_share(case):
    batch_size, path = case
    behind = float(harmonic(len(path[0]))) - 1
    for _, counts, credit in follow(path, batch_size):
        assert counts.sum() == batch_size
        assert counts.min() >= 0
        assert credit.min() > -1 + 1 / len(credit) - 1e-9  # less than one sample more than its share
        assert credit.max() <= behind + 1e-9  # at most H_K - 1 samples less


@given(paths(mixes))
def test_a_group_that_has_no_share_and_no_credit_gets_nothing(case):
    batch_size, path = case
    path = [np.append(mix, 0.0) for mix in path]
    assert all(counts[-1] == 0 for _, counts, _ in follow(path, batch_size))


def starve(num_groups):
    """The worst path for batches of one: the mix is always uniform over the groups not yet served."""
    credit, waiting = np.zeros(num_groups), np.ones(num_groups, dtype=bool)
    while waiting.sum() > 1:
        owed = credit + waiting / waiting.sum()
        counts = apportion_owed(owed, 1)
        credit = owed - counts
        waiting &= counts == 0
        yield credit


@pytest.mark.parametrize("num_groups", [2, 3, 10, 100, 1000])
def test_the_bound_is_tight(num_groups):
    worst = max(credit.max() for credit in starve(num_groups))
    assert worst == pytest.approx(float(harmonic(num_groups)) - 1, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_greedy_adversaries_do_not_break_the_bounds(seed):
    # Adversaries that feed the groups with most credit, or those with least, look for what random paths do not find.
    random = np.random.default_rng(seed)
    num_groups, batch_size = int(random.integers(2, 12)), int(random.integers(1, 4))
    behind, credit = float(harmonic(num_groups)) - 1, np.zeros(num_groups)
    for step in range(2000):
        by_credit = np.argsort(credit, kind="stable")
        fed = by_credit[-random.integers(1, num_groups + 1) :] if step % 7 else by_credit[: random.integers(1, 3)]
        mix = np.zeros(num_groups)
        mix[fed] = 1 / len(fed)
        counts = apportion_owed(credit + mix * batch_size, batch_size)
        credit = credit + mix * batch_size - counts
        assert counts.sum() == batch_size
        assert credit.min() > -1
        assert credit.max() <= behind + 1e-9


@settings(max_examples=20)
@given(st.integers(2, 6).flatmap(mixes), st.integers(1, 5))
def test_nobody_starves_under_a_fixed_mix(mix, batch_size):
    num_batches = 200
    given = sum(counts for _, counts, _ in follow([mix] * num_batches, batch_size))
    assert (np.abs(given - mix * batch_size * num_batches) < max(1, float(harmonic(len(mix))) - 1) + 1e-6).all()
