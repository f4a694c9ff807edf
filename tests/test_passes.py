"""Law 2: endless passes over each group, each freshly shuffled, each draw a pure function of its number."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from learn2mix import Partition
from learn2mix.batches.passes import BLOCK, Passes


def labels_of(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return labels[np.random.default_rng(7).permutation(len(labels))]


def make(sizes, seed=0) -> Passes:
    return Passes(Partition.by_class(labels_of(sizes)), seed)


def draw(passes: Passes, first, counts) -> list[list[int]]:
    """Draws by group."""
    drawn = passes.draw(np.array(first), np.array(counts)).tolist()
    ends = np.cumsum(counts)
    return [drawn[end - count : end] for end, count in zip(ends, counts, strict=True)]


sizes_of_groups = st.lists(st.sampled_from([1, 2, 3, 7, 40, BLOCK - 1, BLOCK, BLOCK + 1]), min_size=2, max_size=4)


@given(sizes_of_groups, st.data())
def test_each_pass_is_a_permutation_however_it_is_cut_into_batches(sizes, data):
    passes = make(sizes)
    drawn = [[] for _ in sizes]
    for _ in range(data.draw(st.integers(1, 12))):
        counts = [data.draw(st.one_of(st.integers(0, 3), st.integers(0, 2 * size))) for size in sizes]
        for group, piece in enumerate(draw(passes, [len(before) for before in drawn], counts)):
            drawn[group] += piece
    for group, samples in enumerate(drawn):
        members = set(np.flatnonzero(labels_of(sizes) == group).tolist())
        for start in range(0, len(samples), sizes[group]):
            one_pass = samples[start : start + sizes[group]]
            assert len(set(one_pass)) == len(one_pass)
            assert set(one_pass) <= members


@given(sizes_of_groups, st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 50)), min_size=1, max_size=8))
def test_random_access_equals_going_through(sizes, places):
    sequential = draw(make(sizes), [0] * len(sizes), [6000] * len(sizes))
    passes = make(sizes)
    for first, count in places:
        pieces = draw(passes, [first] * len(sizes), [count] * len(sizes))
        assert pieces == [samples[first : first + count] for samples in sequential]


@pytest.mark.parametrize("size", [1, 3, BLOCK + 5])
def test_one_draw_may_take_many_passes_of_a_group(size):
    (samples, other) = draw(make([size, 2]), [0, 0], [5 * BLOCK, 1])
    assert len(samples) == 5 * BLOCK
    assert len(other) == 1
    often = Counter(samples)
    assert max(often.values()) - min(often.values()) <= (5 * BLOCK % size > 0)


def test_draws_depend_on_the_seed_and_the_group_and_on_nothing_else():
    one, again, other = (draw(make([50, 50], seed), [0, 0], [50, 50]) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    ranks = [np.argsort(np.argsort(samples)).tolist() for samples in one]
    assert ranks[0] != ranks[1]  # groups of a size are not shuffled alike
    alone = make([50, 50], 1)
    assert draw(alone, [0, 0], [0, 50])[1] == one[1]


@pytest.mark.parametrize("size", [6, BLOCK + 1])
def test_each_pass_is_shuffled_afresh(size):
    samples = draw(make([size, 2]), [0, 0], [20 * size, 0])[0]
    orders = {tuple(samples[start : start + size]) for start in range(0, len(samples), size)}
    assert len(orders) > 18


def test_every_sample_comes_equally_often_at_every_place_of_a_pass():
    size, num_passes = 7, 3000
    samples = np.array(draw(make([size, 2]), [0, 0], [size * num_passes, 0])[0]).reshape(num_passes, size)
    members = np.unique(samples)
    table = [[np.count_nonzero(samples[:, place] == member) for member in members] for place in range(size)]
    assert stats.chisquare(table, axis=None).pvalue > 0.001


def test_the_order_of_a_pass_says_nothing_about_the_next():
    size, num_passes = 3, 12000
    samples = np.array(draw(make([size, 2]), [0, 0], [size * num_passes, 0])[0]).reshape(num_passes, size)
    orders = {order: number for number, order in enumerate(permutations(np.unique(samples).tolist()))}
    numbers = [orders[tuple(order)] for order in samples.tolist()]
    table = np.zeros((6, 6))
    np.add.at(table, (numbers[:-1], numbers[1:]), 1)
    assert stats.chi2_contingency(table).pvalue > 0.001
    assert stats.chisquare(table, axis=None).pvalue > 0.001


def test_drawing_does_not_change_its_arguments_or_give_away_its_cache():
    passes, first, counts = make([5, 5]), np.array([1, 2]), np.array([3, 3])
    drawn = passes.draw(first, counts)
    expected = drawn.tolist()
    drawn[:] = -1
    assert passes.draw(first, counts).tolist() == expected
    assert first.tolist() == [1, 2]
    assert counts.tolist() == [3, 3]
