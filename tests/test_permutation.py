"""The permutations of large groups, computed place by place: exact, and like NumPy's to every statistic tried."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from learn2mix import Partition
from learn2mix.batches import permutation
from learn2mix.batches.passes import Passes
from learn2mix.batches.permutation import SORTED, bit_length, derived_keys, mixed, parts_of_passes, permuted

sizes = st.one_of(st.integers(1, 300), st.integers(1, 2**62), st.integers(0, 62).map(lambda bits: 2**bits))


def keys_of(seed, num_rows):
    return derived_keys(np.full((num_rows, 1), seed, dtype=np.uint64), np.arange(num_rows)[:, None])


def ours(size, num_rows, seed=0):
    """Permutations of ``range(size)``, each a row."""
    shape = (num_rows, size)
    return permuted(keys_of(seed, num_rows), np.full((num_rows, 1), size), np.broadcast_to(np.arange(size), shape))


def numpy_s(size, num_rows, seed=0):
    return np.random.default_rng(seed).permuted(np.broadcast_to(np.arange(size), (num_rows, size)), axis=1)


# The network once more, in whole numbers of any length.


def mixed_in_python(number):
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ number >> 27) * 0x94D049BB133111EB % 2**64
    return number ^ number >> 31


def hashed_in_python(number, key, bits):
    product = (number + key) * (0xBF58476D1CE4E5B9 >> 64 - bits | 1) % 2**bits
    return (product ^ product >> bits // 2) * (0x94D049BB133111EB >> 64 - bits | 1) % 2**bits >> bits // 2


def permuted_in_python(key, size, place):
    bits = 32 if size <= 2**28 else 64
    low = ((size - 1).bit_length() + 1) // 2
    b = -(-size // 2**low)
    while True:
        right, left = divmod(place, 2**low)
        for number in range(permutation.ROUNDS):
            round_key = mixed_in_python((key + (number + 1) * 0x9E3779B97F4A7C15) % 2**64) % 2**bits
            if number % 2 == 0:
                right = (right + (hashed_in_python(left, round_key, bits) * b >> bits // 2)) % b
            else:
                left = (left + hashed_in_python(right, round_key, bits)) % 2**low
        place = right * 2**low + left
        if place < size:
            return place


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), sizes), min_size=1, max_size=5), st.data())
def test_it_is_what_whole_numbers_of_any_length_give(rows, data):
    of = [[size] for _, size in rows]
    places = [[data.draw(st.integers(0, size - 1)) for _ in range(4)] for _, size in rows]
    expected = [
        [permuted_in_python(key, size, place) for place in row] for (key, size), row in zip(rows, places, strict=True)
    ]
    for narrow in (True, False):
        chosen = [number for number, (_, size) in enumerate(rows) if (size <= permutation.NARROW) is narrow]
        if chosen:
            keys = np.array([[rows[number][0]] for number in chosen], dtype=np.uint64)
            found = permuted(keys, *(np.array([table[number] for number in chosen]) for table in (of, places)))
            assert found.tolist() == [expected[number] for number in chosen]


@given(st.integers(0, 2**64 - 1), st.integers(1, 3000))
def test_it_is_a_permutation(key, size):
    found = permuted(np.array([[key]], dtype=np.uint64), np.array([[size]]), np.arange(size)[None])
    assert np.sort(found[0]).tolist() == list(range(size))


@given(st.integers(0, 2**64 - 1), st.integers(2**40, 2**62), st.data())
def test_of_a_large_range_no_two_places_have_the_same(key, size, data):
    first = data.draw(st.integers(0, size - 5000))
    found = permuted(np.array([[key]], dtype=np.uint64), np.array([[size]]), first + np.arange(5000)[None])
    assert np.unique(found).size == 5000
    assert found.min() >= 0
    assert found.max() < size


@given(st.integers(0, 2**62))
def test_bit_length_is_that_of_python(number):
    assert bit_length(np.array([number])).tolist() == [number.bit_length()]


def test_mixing_changes_half_of_the_bits_whichever_bit_of_a_number_changes():
    numbers = np.arange(4000, dtype=np.uint64)[:, None]
    changed = mixed(numbers) ^ mixed(numbers ^ (np.uint64(1) << np.arange(64, dtype=np.uint64)))
    bits = np.unpackbits(changed.view(np.uint8).reshape(4000, 64, 8), axis=2).mean(axis=0)
    assert abs(bits - 0.5).max() < 0.05


rows = st.tuples(st.integers(0, 99), st.sampled_from([1, 2, 5, SORTED - 1, SORTED, 600, 900, 5000]), st.data())


@given(st.lists(rows, min_size=1, max_size=9))
def test_parts_of_many_passes_are_those_of_each_alone(rows):
    parts, table = [], []
    for key, size, data in rows:
        begin = data.draw(st.integers(0, size - 1))
        end = data.draw(st.integers(begin + 1, size))
        whole = parts_of_passes(np.array([key], dtype=np.uint64), *map(np.array, ([size], [0], [size], [1000])), 700)
        assert sorted(whole.tolist()) == list(range(1000, 1000 + size))
        parts += whole[begin:end].tolist()
        table.append((key, size, begin, end))
    keys, *others = map(np.array, zip(*table, strict=True))
    assert parts_of_passes(keys.astype(np.uint64), *others, np.full(len(rows), 1000), 700).tolist() == parts


@given(st.lists(st.sampled_from([1, 2, 3, 8, 9, 100, SORTED - 1]), min_size=1, max_size=6), st.integers(0, 2**32))
def test_small_passes_are_the_same_few_at_a_time_and_many_at_a_time(sizes, seed):
    """Few are sorted together, many by their lengths; a part of one is a part of the whole."""
    sizes = np.array(sizes * (1 + 60_000 // sum(sizes)))
    keys, begin, offsets = derived_keys(np.array([seed], dtype=np.uint64), np.arange(len(sizes))), sizes // 3, sizes * 7
    many = parts_of_passes(keys, sizes, begin, sizes, offsets, 700)
    few = [
        parts_of_passes(keys[rows], sizes[rows], begin[rows], sizes[rows], offsets[rows], 700)
        for rows in np.array_split(np.arange(len(sizes)), min(200, len(sizes)))
    ]
    assert np.concatenate(few).tolist() == many.tolist()


# Statistics. A permutation drawn by NumPy passes each; a network with too few rounds does not.

RANGES = [(700, 3000), (4097, 500), (70_000, 25)]  # size, permutations: 2 million places of each
UNLIKELY = 1e-4


def half(size):
    """What the network adds to its other half: places so far apart have one half in common."""
    return 2 ** (((size - 1).bit_length() + 1) // 2)


def positions_are_even(rows):
    """Least p-value of how often each part of the range comes at a place, over the permutations."""
    size = rows.shape[1]
    pvalues = []
    for cell in (lambda samples: samples * 16 // size, lambda samples: samples % 16):
        expected = np.bincount(cell(np.arange(size))) / size * len(rows)
        for place in (0, 1, half(size), size // 2, size - 1):
            counted = np.bincount(cell(rows[:, place]), minlength=16)
            pvalues.append(stats.chisquare(counted, expected).pvalue)
    return min(pvalues)


def neighbours_are_even(rows):
    """Least p-value of the differences between what is so many places apart."""
    size = rows.shape[1]
    of_each = np.bincount(np.arange(size - 1) * 64 // (size - 1), minlength=64) / (size - 1)
    pvalues = []
    for lag in (1, 2, half(size) // 2, half(size), half(size) + 1):
        differences = ((rows[:, lag:] - rows[:, :-lag]) % size).ravel()
        counted = np.bincount((differences - 1) * 64 // (size - 1), minlength=64)
        pvalues.append(stats.chisquare(counted, of_each * counted.sum()).pvalue)
    return min(pvalues)


def rows_are_independent(rows):
    """Least p-value of what one permutation says of the next: its cells, the same samples, their ranks."""
    size = rows.shape[1]
    one, other = rows[:-1].ravel(), rows[1:].ravel()
    table = np.bincount(one * 16 // size * 16 + other * 16 // size, minlength=256).reshape(16, 16)
    common = int((one == other).sum())  # 1 per pair, as of any two permutations
    ranks = [stats.spearmanr(a, b).pvalue for a, b in pairwise(rows[:20])]
    return min(
        stats.chi2_contingency(table).pvalue,
        2 * min(stats.poisson.cdf(common, len(rows) - 1), stats.poisson.sf(common - 1, len(rows) - 1)),
        stats.combine_pvalues(ranks).pvalue,
    )


@pytest.mark.parametrize("statistic", [positions_are_even, neighbours_are_even, rows_are_independent])
@pytest.mark.parametrize("make", [ours, numpy_s])
@pytest.mark.parametrize(("size", "num_rows"), RANGES)
def test_it_looks_like_numpy_s(size, num_rows, make, statistic):
    assert statistic(make(size, num_rows, seed=1)) > UNLIKELY


@pytest.mark.parametrize(
    ("num_rounds", "statistic"),
    [(1, positions_are_even), (1, rows_are_independent), (1, neighbours_are_even), (2, neighbours_are_even)],
)
@pytest.mark.parametrize(("size", "num_rows"), RANGES)
def test_the_statistics_find_a_network_with_too_few_rounds(size, num_rows, num_rounds, statistic, monkeypatch):
    monkeypatch.setattr(permutation, "ROUNDS", num_rounds)
    assert statistic(ours(size, num_rows, seed=1)) < UNLIKELY


@pytest.mark.parametrize("size", [700, 4097])
def test_neighbours_of_small_ranges_find_four_rounds(size, monkeypatch):
    monkeypatch.setattr(permutation, "ROUNDS", 4)
    assert neighbours_are_even(ours(size, 2_000_000 // size, seed=1)) < UNLIKELY


@pytest.mark.parametrize("size", [2**28 - 57, 2**28 + 57, 10**12 + 1])
@pytest.mark.parametrize("num_rounds", [permutation.ROUNDS, 2])
def test_neighbours_in_a_range_too_large_to_be_listed(size, num_rounds, monkeypatch):
    monkeypatch.setattr(permutation, "ROUNDS", num_rounds)
    keys, of, num_places = keys_of(3, 4), np.full((4, 1), size), 100_000
    one = permuted(keys, of, np.broadcast_to(np.arange(num_places), (4, num_places)))
    pvalues = []
    for lag in (1, half(size)):
        other = permuted(keys, of, np.broadcast_to(np.arange(num_places) + lag, (4, num_places)))
        pvalues.append(stats.kstest(((other - one) % size / size).ravel(), "uniform").pvalue)
    assert (min(pvalues) > UNLIKELY) == (num_rounds > 2)


@pytest.mark.long
def test_passes_groups_and_seeds_are_independent():
    size = 70_000  # too large to be shuffled whole
    partition = Partition.by_dataset([range(size)] * 2)
    passes_of_two_groups = [
        Passes(partition, seed).draw(np.zeros(2, dtype=np.int64), np.full(2, 12 * size)).reshape(2, 12, size)
        for seed in (0, 1)
    ]
    rows = np.stack(passes_of_two_groups) % size
    assert rows_are_independent(rows[0, 0]) > UNLIKELY, "passes"
    assert rows_are_independent(rows[0].swapaxes(0, 1).reshape(24, size)) > UNLIKELY, "groups"
    assert rows_are_independent(rows[:, 0].swapaxes(0, 1).reshape(24, size)) > UNLIKELY, "seeds"
    assert neighbours_are_even(rows.reshape(48, size)) > UNLIKELY


def test_a_pass_of_a_large_group_is_spread_as_evenly_in_any_window():
    size = 10**9
    passes = Passes(Partition.by_dataset([range(size)] * 2), 3)
    drawn = passes.draw(np.array([size // 3, 0]), np.array([200_000, 0]))
    assert stats.kstest(drawn / size, "uniform").pvalue > UNLIKELY
    assert stats.kstest(np.diff(np.sort(drawn)) / (size / 200_000), "expon").pvalue > UNLIKELY
