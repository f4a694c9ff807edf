"""Law 3: which samples of a global batch each process gets, and in which order."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from learn2mix.batches.split import own_counts, own_places, shuffled_order

processes = st.sampled_from([1, 2, 3, 4, 8])


@st.composite
def batches(draw):
    """Processes, and a batch that they share evenly: counts of its groups, and the draws before it."""
    num_replicas, per_process = draw(processes), draw(st.integers(1, 9))
    cuts = draw(st.lists(st.integers(0, num_replicas * per_process), min_size=1, max_size=5))
    counts = np.diff([0, *sorted(cuts), num_replicas * per_process])
    return (
        num_replicas,
        counts,
        np.array(draw(st.lists(st.integers(0, 99), min_size=len(counts), max_size=len(counts)))),
    )


def by_group(places, counts):
    return np.bincount(counts.cumsum().searchsorted(places, side="right"), minlength=len(counts))


@given(batches())
def test_each_place_is_on_one_process_and_each_process_has_as_many(batch):
    num_replicas, counts, draws = batch
    parts = [own_places(counts, draws, rank, num_replicas) for rank in range(num_replicas)]
    assert sorted(np.concatenate(parts)) == list(range(counts.sum()))
    assert {len(part) for part in parts} == {counts.sum() // num_replicas}


@given(batches())
def test_each_process_has_as_many_of_a_group_as_any_other_to_within_one(batch):
    num_replicas, counts, draws = batch
    table = [by_group(own_places(counts, draws, rank, num_replicas), counts) for rank in range(num_replicas)]
    assert np.ptp(table, axis=0).max() <= 1
    np.testing.assert_array_equal(own_counts(counts, num_replicas), table)


@given(batches())
def test_what_is_not_a_remainder_goes_by_the_number_of_the_draw(batch):
    """So a process knows ahead, before a batch is composed, which samples may be its own."""
    num_replicas, counts, draws = batch
    starts = counts.cumsum() - counts
    for rank in range(num_replicas):
        places = own_places(counts, draws, rank, num_replicas)
        for group, (start, count) in enumerate(zip(starts, counts, strict=True)):
            regular = count - count % num_replicas
            mine = places[(places >= start) & (places < start + regular)] - start
            assert set((draws[group] + mine) % num_replicas) <= {rank}


@given(
    st.integers(0, 40) | st.sampled_from([127, 128, 129, 1 << 16, (1 << 16) + 1]),
    st.integers(0, 2**64 - 1),
    st.integers(0, 7),
    st.integers(0, 10**6),
)
@settings(max_examples=60)
def test_an_order_is_a_permutation_and_a_function_of_its_key(size, seed, rank, number):
    order = shuffled_order(size, seed, rank, number).tolist()
    assert sorted(order) == list(range(size))
    for other in range(10):  # so that the order is drawn anew
        shuffled_order(size, seed, rank + 8, other * 10_000)
    assert shuffled_order(size, seed, rank, number).tolist() == order


def test_orders_of_batches_seeds_and_ranks_differ():
    keys = [(seed, rank, number) for seed in range(3) for number in range(500) for rank in range(3)]
    assert len({tuple(shuffled_order(20, *key).tolist()) for key in keys}) == len(keys)


@pytest.mark.long
@pytest.mark.parametrize("size", [4, 100, 200])
def test_each_sample_is_as_likely_at_each_place_and_after_each_other(size):
    numbers = np.arange(4000) * 64 + 5  # each of another pool, for those of one are independent by twos alone
    orders = np.stack([shuffled_order(size, 1, 0, number) for number in numbers.tolist()])
    for values in (orders[:, 0], orders[:, size // 2], orders[:, -1], (orders[:, 1] - orders[:, 0]) % size - 1):
        assert chisquare(np.bincount(values)).pvalue > 1e-4  # of 12 tests


@cache
def inverses_of_orders(size):
    return [shuffled_order(size, 2, 0, 128 * block + 3).argsort() for block in range(2000)]


@pytest.mark.long
@pytest.mark.parametrize("apart", [1, 7, 8, 9, 63, 64])
@pytest.mark.parametrize("size", [5, 200])
def test_the_orders_of_two_batches_are_independent(size, apart):
    """What one makes of the other is as likely to be any order: where it sends a place, and what it leaves in place."""
    second = [shuffled_order(size, 2, 0, 128 * block + 3 + apart) for block in range(2000)]
    ratio = np.stack([inverse[other] for inverse, other in zip(inverses_of_orders(size), second, strict=True)])
    places = ratio[:, 0] * 5 // size
    assert chisquare(np.bincount(places, minlength=5)).pvalue > 1e-4  # of 24 tests
    fixed = (ratio == np.arange(size)).sum(axis=1)  # 1 on average, with a variance of 1
    assert abs(fixed.mean() - 1) < 4 / np.sqrt(len(fixed))
