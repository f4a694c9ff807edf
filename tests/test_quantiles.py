"""Groups by a continuous target: in order, ties together, as even as they allow."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers import NAN
from learn2mix import Partition

targets = st.one_of(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60),
    st.lists(st.floats(-1, 1), min_size=1, max_size=60, unique=True),
    st.lists(st.integers(0, 4), min_size=1, max_size=60),
    st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0, 2.5, 7.0]), min_size=1, max_size=60),
)


@given(targets, st.integers(1, 8), st.sampled_from([list, np.array, torch.tensor]))
def test_quantiles_are_in_order_and_ties_together(values, num_groups, kind):
    if num_groups > len(set(values)):
        with pytest.raises(ValueError, match=f"at most .* different targets, {len(set(values))}, got"):
            Partition.by_quantile(values, num_groups)
        return
    given_as = kind(values)
    plain = given_as if isinstance(given_as, list) else given_as.tolist()
    if num_groups > len(set(plain)):
        return  # float32 made some of them equal
    partition = Partition.by_quantile(given_as, num_groups)
    assert partition.group_names == list(range(num_groups))
    parts = [sorted(plain[index] for index in partition.indices(group)) for group in range(num_groups)]
    assert all(parts)
    assert sorted(plain) == [value for part in parts for value in part]
    assert all(low[-1] < high[0] for low, high in pairwise(parts))
    if len(set(plain)) == len(plain):
        assert max(partition.sizes) - min(partition.sizes) <= 1
    largest_tie = max(plain.count(value) for value in plain)
    assert max(partition.sizes) <= -(-len(plain) // num_groups) + largest_tie


@given(st.lists(st.integers(0, 6), min_size=2, max_size=40).filter(lambda values: len(set(values)) > 1))
def test_no_other_cut_into_two_groups_is_more_even(values):
    lower = Partition.by_quantile(values, 2).sizes[0]
    every_cut = [sum(other < value for other in values) for value in sorted(set(values))[1:]]
    assert abs(lower - len(values) / 2) == min(abs(size - len(values) / 2) for size in every_cut)


def test_many_equal_targets_make_one_group_and_leave_the_others_even():
    counts = np.array([0] * 900 + list(range(1, 101)))
    assert Partition.by_quantile(counts, 5).sizes.tolist() == [900, 25, 25, 25, 25]
    assert Partition.by_quantile(-counts, 5).sizes.max() == 900


def test_quantiles_of_normal_targets_are_numpy_s():
    values = np.random.default_rng(0).normal(size=1000)
    partition = Partition.by_quantile(torch.from_numpy(values), 4)
    edges = np.quantile(values, [0.25, 0.5, 0.75])
    for group in range(4):
        np.testing.assert_array_equal(partition.indices(group), np.flatnonzero(np.searchsorted(edges, values) == group))


@pytest.mark.parametrize(
    ("values", "num_groups", "error", "message"),
    [
        ([1.0, NAN, 2.0, NAN], 2, ValueError, r"targets: 2 of 4 are not finite \(first at index 1: nan\); drop these"),
        ([1.0, -np.inf], 2, ValueError, r"targets: 1 of 2 are not finite \(first at index 1: -inf\)"),
        ([3.0] * 5, 2, ValueError, "num_groups must be at most the number of different targets, 1, got 2"),
        ([], 1, ValueError, "num_groups must be at most the number of different targets, 0, got 1"),
        ([1.0, 2.0], 0, ValueError, "num_groups must be at least 1, got 0"),
        ([1.0, 2.0], 1.5, TypeError, "num_groups must be a whole number, got 1.5"),
        (["a", "b"], 2, TypeError, "targets must be real numbers, got <U1"),
        ([1j, 2j], 2, TypeError, "targets must be real numbers, got complex128"),
        ([[1.0], [2.0]], 2, ValueError, r"targets must be 1-D, .* got shape \(2, 1\); give targets.squeeze\(1\)"),
        ([[1.0, 3.0]], 2, ValueError, r"got shape \(1, 2\); give one column: targets\[:, 0\]"),
        (3.0, 1, ValueError, r"targets must be 1-D, one target a sample, got shape \(\)$"),
    ],
)
def test_by_quantile_refuses_bad_input(values, num_groups, error, message):
    with pytest.raises(error, match=message):
        Partition.by_quantile(values, num_groups)
