"""Law 2: endless passes over each group, each freshly shuffled, each draw a pure function of its number."""

import contextlib
import itertools
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from learn2mix import Partition
from learn2mix.batches.passes import MANY, Passes
from learn2mix.batches.permutation import SORTED

LARGE = 70_000  # above what is shuffled whole, with a few groups
SIZES = [1, 2, 3, 7, 40, SORTED - 1, SORTED, SORTED + 1, LARGE]


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


sizes_of_groups = st.lists(st.sampled_from(SIZES), min_size=2, max_size=4)


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


def any_place_of(size):
    """Numbers of draws, many of them about the end of a pass or of a window."""
    ends = st.sampled_from([0, 512, 1024, 16384, size, 2 * size, 3 * size])
    return st.one_of(st.integers(0, 4 * size), st.builds(lambda end, by: max(end + by, 0), ends, st.integers(-9, 9)))


@given(sizes_of_groups, st.data())
def test_a_draw_is_the_same_whatever_was_asked_before(sizes, data):
    """Anywhere, on from the last, back to where one was before, with groups left out: as each draw alone."""
    passes, places = make(sizes), [tuple(data.draw(any_place_of(size)) for size in sizes)]
    for _ in range(data.draw(st.integers(1, 8))):
        first = data.draw(st.one_of(st.just(places[-1]), st.sampled_from([(0,) * len(sizes), *places])))
        counts = [data.draw(st.one_of(st.just(0), st.integers(0, 50), st.just(1500))) for _ in sizes]
        drawn = draw(passes, first, counts)
        places.append(tuple(map(sum, zip(first, counts, strict=True))))
        for group, samples in enumerate(drawn):
            for place in {0, len(samples) // 2, len(samples) - 1} & set(range(counts[group])):
                one = [int(number == group) for number in range(len(sizes))]
                alone = draw(make(sizes), [first[group] + place] * len(sizes), one)
                assert alone[group] == samples[place : place + 1]


@pytest.mark.parametrize("most", [4, 300])
@pytest.mark.parametrize("num_groups", [10, 300])
def test_batch_after_batch_gives_what_one_batch_of_all_gives(num_groups, most):
    """Over many windows, some of them opened before they are needed."""
    generator = np.random.default_rng(most)
    sizes = generator.choice([1, 2, 5, 30, 100, SORTED, 2 * SORTED, 6000, LARGE], num_groups)
    partition = Partition(sizes, range(num_groups))
    begin = np.maximum(sizes - 700, 0)  # so that all come to the end of a pass
    passes, first, drawn = Passes(partition, 5), begin, [[] for _ in sizes]
    for _ in range(12_000 // most if num_groups == 10 else 2500 // most):
        counts = generator.integers(0, most, num_groups) * (generator.random(num_groups) < 0.8)
        samples, ends = passes.draw(first, counts), counts.cumsum()
        for group in counts.nonzero()[0]:
            drawn[group] += samples[ends[group] - counts[group] : ends[group]].tolist()
        first = first + counts
    assert draw(Passes(partition, 5), begin, first - begin) == drawn


@pytest.mark.parametrize("size", SIZES)
def test_one_draw_may_take_many_passes_of_a_group(size):
    count = 5 * size + size // 2
    (samples, other) = draw(make([size, 2]), [0, 0], [count, 1])
    assert len(samples) == count
    assert len(other) == 1
    often = Counter(samples)
    assert max(often.values()) - min(often.values()) <= (count % size > 0)


@pytest.mark.parametrize("contiguous", [False, True])
def test_many_groups_of_all_sizes_are_drawn_as_each_alone(contiguous):
    generator = np.random.default_rng(3)
    sizes = generator.choice([0, 1, 2, 5, 30, SORTED, 2 * SORTED], MANY + 500)
    partition = Partition(sizes, range(len(sizes))) if contiguous else Partition.by_class(labels_of(sizes))
    sizes = partition.sizes
    passes, first = Passes(partition, 1), np.zeros(len(sizes), dtype=np.int64)
    drawn = [[] for _ in sizes]
    for _ in range(12):
        counts = generator.choice([0, 0, 0, 1, 2, 40], len(sizes)) * (sizes > 0)
        samples, ends = passes.draw(first, counts), counts.cumsum()
        for group in counts.nonzero()[0]:
            drawn[group] += samples[ends[group] - counts[group] : ends[group]].tolist()
        first = first + counts
    again = Passes(partition, 1)
    for group in generator.choice(sizes.nonzero()[0], 60):
        one = np.zeros(len(sizes), dtype=np.int64)
        one[group] = len(drawn[group])
        assert again.draw(np.zeros_like(one), one).tolist() == drawn[group]
        for start in range(0, len(drawn[group]), sizes[group]):
            one_pass = drawn[group][start : start + sizes[group]]
            assert len(set(one_pass)) == len(one_pass)
            assert set(one_pass) <= set(partition.indices(group).tolist())


def test_of_many_groups_one_may_go_back_to_where_another_was():
    """Its window is ahead of it, though it goes on from the number where the last batch, of another group, ended."""
    sizes = np.full(MANY + 1, 40)
    passes, first, counts = Passes(Partition(sizes, range(MANY + 1)), 0), np.zeros_like(sizes), np.zeros_like(sizes)

    def one(group, number):
        first[group], counts[:], counts[group] = number, 0, 1
        return passes.draw(first, counts).tolist()

    expected = one(1, 7)
    one(1, 2000)
    one(0, 5)
    one(0, 6)
    assert one(1, 7) == expected


@pytest.mark.parametrize("num_groups", [2, MANY + 1])
def test_batches_taken_back_come_again_though_the_windows_have_moved_on(num_groups):
    """The first has no sample of the group whose window is ahead; the others go on from where the last one ended."""
    passes = Passes(Partition(np.full(num_groups, 40), range(num_groups)), 0)
    first = np.zeros(num_groups, dtype=np.int64)

    def batches():
        at = first
        for group in [1, *[0] * 200]:
            counts = np.bincount([group], [30], num_groups).astype(np.int64)
            before, at = at, at + counts
            yield passes.draw(before, counts, at).tolist()

    expected = list(batches())
    assert list(batches()) == expected
    assert sorted(itertools.chain(*expected[1:5])) == sorted(3 * list(range(40)))


def test_a_batch_that_takes_nearly_a_whole_window_comes_again_beside_another_group():
    passes = Passes(Partition.by_dataset([range(10**6)] * 2), 0)
    most = 1 << 14  # draws that are ready of such a group
    first = draw(passes, [0, 0], [500, 0])[0]
    large = draw(passes, [500, 0], [most - 384, 0])[0]
    again, small = draw(passes, [500, 0], [most - 384, 5])
    assert again == large
    assert draw(passes, [most + 116, 0], [5, 5])[1] == small
    assert len({*first, *large}) == most + 116


@pytest.mark.parametrize("size", [40, SORTED + 1, LARGE])
def test_after_a_batch_was_interrupted_draws_are_what_they_were(size):
    class Interrupted(Partition):
        """Ctrl-C comes when the next window is opened, once it is asked for."""

        asked = False

        def at(self, places):
            self.interrupt()
            return super().at(places)

        def indices(self, group):
            self.interrupt()
            return super().indices(group)

        def interrupt(self):
            if self.asked:
                self.asked = False
                raise KeyboardInterrupt

    partition, counts, batch = Interrupted([size, size], "ab"), np.array([300, 0]), 0
    passes, unbroken = Passes(partition, 0), Passes(Partition([size, size], "ab"), 0)

    def drawn(passes, batch):
        return passes.draw(batch * counts, counts).tolist()

    for _ in range(3):
        assert drawn(passes, batch) == drawn(unbroken, batch)
        partition.asked = True
        while partition.asked:
            with contextlib.suppress(KeyboardInterrupt):
                assert drawn(passes, batch) == drawn(unbroken, batch)
                batch += 1
        for earlier in range(batch - 1, max(batch - 200, 0), -1):
            assert drawn(passes, earlier) == drawn(unbroken, earlier)


def test_a_group_of_a_billion_samples_costs_no_memory():
    partition = Partition.by_dataset([range(10**9)] * 1000 + [range(2**62 - 10**12)])
    passes = Passes(partition, 0)
    first, counts = np.arange(1001) * 10**6, np.ones(1001, dtype=np.int64)
    drawn = passes.draw(first, counts)
    assert (partition.offsets[:-1] <= drawn).all()
    assert (drawn < partition.offsets[1:]).all()
    held = [value.nbytes for value in vars(passes).values() if isinstance(value, np.ndarray)]
    assert sum(held) < 10**7


def test_draws_depend_on_the_seed_and_the_group_and_on_nothing_else():
    for size in (50, SORTED, LARGE):
        one, again, other = (draw(make([size, size], seed), [0, 0], [50, 50]) for seed in (1, 1, 2))
        assert one == again
        assert one != other
        ranks = [np.argsort(np.argsort(samples)).tolist() for samples in one]
        assert ranks[0] != ranks[1]  # groups of a size are not shuffled alike
        alone = make([size, size], 1)
        assert draw(alone, [0, 0], [0, 50])[1] == one[1]


@pytest.mark.parametrize("seed", [2**32, 2**63, 2**64 - 1])
def test_every_bit_of_the_seed_counts(seed):
    sizes = [40, SORTED, LARGE]
    one, other = (draw(make(sizes, each), [0] * 3, [40] * 3) for each in (seed, seed % 2**32))
    assert all(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("size", [6, SORTED + 1])
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


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_order_of_a_small_group_is_as_likely_as_any_other(size):
    num_passes = 12000
    samples = np.array(draw(make([size, 2]), [0, 0], [size * num_passes, 0])[0]).reshape(num_passes, size)
    orders = {order: number for number, order in enumerate(permutations(np.unique(samples).tolist()))}
    numbers = np.array([orders[tuple(order)] for order in samples.tolist()])
    assert stats.chisquare(np.bincount(numbers, minlength=len(orders))).pvalue > 0.001
    table = np.zeros((len(orders), len(orders)))
    np.add.at(table, (numbers[:-1], numbers[1:]), 1)
    assert stats.chi2_contingency(table).pvalue > 0.001, "the order of a pass says something of the next"


def test_drawing_does_not_change_its_arguments_or_give_away_its_cache():
    passes, first, counts = make([5, 5]), np.array([1, 2]), np.array([3, 3])
    drawn = passes.draw(first, counts)
    expected = drawn.tolist()
    drawn[:] = -1
    assert passes.draw(first, counts).tolist() == expected
    assert first.tolist() == [1, 2]
    assert counts.tolist() == [3, 3]
