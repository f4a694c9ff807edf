"""What the batches of a stream are made of: exact, without duplicates, the same again, for any number of workers."""

from collections import Counter
from itertools import chain, islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import get_worker_info

import reference
from helpers import Scripted, mixes
from learn2mix import FixedMix, Learn2Mix, MixedStream
from pairs import pairs
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers, counts_of, groups_of, load, losses_of, sources, train

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)

SCRIPT = [[0.5, 0.3, 0.2], [0.05, 0.9, 0.05], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.15, 0.85]]


@pytest.mark.parametrize(("num_workers", "order"), [(0, "grouped"), (1, "shuffled"), (3, "grouped")])
def test_law_1_every_batch_is_exact_whatever_the_mix(num_workers, order):
    """One credit for all workers."""
    stream = MixedStream(sources(40, 20, 10), Scripted(SCRIPT), batch_size=7, order=order)
    credit = [0.0] * 3
    for place, batch in enumerate(islice(load(stream, num_workers), 41)):
        expected, credit = reference.compose(credit, SCRIPT[place % len(SCRIPT)], 7)
        assert counts_of(batch, 3) == expected
        if order == "grouped":
            assert groups_of(batch).tolist() == sorted(groups_of(batch))


@given(st.lists(mixes(3), min_size=1, max_size=12), st.integers(1, 9))
@settings(max_examples=25)
def test_law_1_each_group_has_had_its_summed_share_to_within_a_sample_or_so(script, batch_size):
    stream = MixedStream(sources(5, 7, 3), Scripted(script), batch_size=batch_size)
    had, share = np.zeros(3), np.zeros(3)
    for mix, batch in zip(script, load(stream), strict=False):
        had += counts_of(batch, 3)
        share += np.array(mix) * batch_size
        assert (had - share < 1 + 1e-9).all()
        assert (share - had <= 1 / 2 + 1 / 3 + 1e-9).all()


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_the_group_of_each_sample_reaches_the_mixer(num_workers):
    """The losses encode the group, so their means by group are known."""

    class Recording(Learn2Mix):
        def update(self, losses):
            self.seen = [*getattr(self, "seen", []), losses]

    stream = MixedStream(sources(30, 20, 10), Recording(initial=[0.6, 0.3, 0.1]), batch_size=4)
    for batch in islice(load(stream, num_workers), 20):
        stream.observe((1 + groups_of(batch)) * 2.0)
        seen, present = stream.mixer.seen[-1], np.bincount(groups_of(batch), minlength=3) > 0
        np.testing.assert_array_equal(seen[present], np.array([2.0, 4.0, 6.0])[present])
        assert np.isnan(seen[~present]).all()
        assert stream.last_observed.counts.tolist() == counts_of(batch, 3)
        np.testing.assert_array_equal(stream.group_losses, seen)
    assert len(stream.mixer.seen) == 20


def drawn_of(make, num_replicas, num_workers, num_batches):
    """The batches of each process."""
    return [
        [batch.tolist() for batch in islice(load(make(num_replicas=num_replicas, rank=rank), num_workers), num_batches)]
        for rank in range(num_replicas)
    ]


KINDS = {
    "iterable": Numbers,
    "list": lambda group, size: list(Numbers(group, size)),
    "splits itself by worker": lambda group, size: SplitsByWorker(Numbers(group, size)),
    "even shards": lambda group, size: Sharded(group, [size // 8] * 8),
    "uneven shards": lambda group, size: Sharded(group, [size // 2 + 3, size // 4 - 3, size // 8, size // 8]),
}


@pytest.mark.parametrize(
    ("kind", "workers_and_processes", "buffer"), pairs(list(KINDS), [(0, 1), (1, 2), (3, 1), (2, 2)], [0, 5])
)
def test_law_2_a_source_is_drawn_evenly_over_workers_and_processes(kind, workers_and_processes, buffer):
    num_workers, num_replicas = workers_and_processes
    size, batch_size, passes = 48, 8, 6
    num_batches = passes * 2 * size // (batch_size * num_replicas)

    def make(**where):
        both = [KINDS[kind](0, size), KINDS[kind](1, size)]
        return MixedStream(both, FixedMix([0.5, 0.5]), batch_size=batch_size, shuffle_buffer=buffer, **where)

    times = Counter(n for part in drawn_of(make, num_replicas, num_workers, num_batches) for b in part for n in b)
    assert len(times) == 2 * size, "nothing is missed"
    if kind == "uneven shards" and num_workers > 1:  # until the lengths are known, a shard may run into its next pass
        assert max(times.values()) - min(times.values()) <= 2
    else:
        assert set(times.values()) == {passes}


@pytest.mark.parametrize(("kind", "num_workers"), [("iterable", 0), ("iterable", 2), ("list", 1), ("uneven shards", 2)])
def test_law_3_the_global_batches_are_those_of_one_process(kind, num_workers):
    def batches(num_replicas):
        def make(**where):
            both = [KINDS[kind](group, size) for group, size in enumerate((40, 25, 17))]
            return MixedStream(both, Scripted(SCRIPT), batch_size=12 // num_replicas, **where)

        parts = drawn_of(make, num_replicas, num_workers, 15)
        for place in range(15):
            counts = np.array([counts_of(torch.tensor(part[place]), 3) for part in parts])
            assert np.ptp(counts, axis=0).max() <= 1, "each process has its share of each group"
        return [sorted(n for part in parts for n in part[place]) for place in range(15)]

    assert batches(1) == batches(2) == batches(3)


def test_draws_passes_coverage_and_the_realised_mix_are_known():
    stream = MixedStream(sources(10, 40), FixedMix([0.5, 0.5]), batch_size=4)
    for batch in islice(load(stream), 8):
        stream.observe(losses_of(batch))
    assert stream.draws.tolist() == [16, 16]
    assert stream.realised.tolist() == [0.5, 0.5]
    np.testing.assert_allclose(stream.passes, [1.6, np.nan])
    np.testing.assert_allclose(stream.coverage, [1.0, np.nan])
    sized = MixedStream([range(10), range(40)], FixedMix([0.5, 0.5]), batch_size=4)
    list(islice(load(sized), 8))
    assert sized.passes.tolist() == [1.6, 0.4]
    assert sized.coverage.tolist() == [1.0, 0.4]


def test_importance_weights_are_those_of_the_batch_being_trained_on():
    stream = MixedStream([range(30), range(GROUP, GROUP + 10)], FixedMix("uniform"), batch_size=4)
    for batch in islice(load(stream, 2), 6):
        assert stream.importance_weights().tolist() == [0.5 if group else 1.5 for group in groups_of(batch)]
        stream.observe(None)


class SplitsByWorker(list):
    """Splits itself by worker, as torch's documentation advises."""

    def __iter__(self):
        worker = get_worker_info()
        return islice(super().__iter__(), *((0, None) if worker is None else (worker.id, None, worker.num_workers)))


class Sharded:
    """Files of some sizes; shards itself by file, in the way of Hugging Face's."""

    def __init__(self, group, sizes):
        ends = np.cumsum(sizes).tolist()
        self.files = [
            [group * GROUP + n for n in range(end - size, end)] for end, size in zip(ends, sizes, strict=True)
        ]

    @property
    def num_shards(self):
        return len(self.files)

    def shard(self, num_shards, index):
        part = Sharded(0, [])
        part.files = self.files[index::num_shards]
        return part

    def __iter__(self):
        return chain.from_iterable(self.files)


class Splitting(Numbers):
    """Knows how to split itself, in another way than the stream would."""

    def shard(self, num_shards, index):
        size = self.size // num_shards
        return range(self.group * GROUP + index * size, self.group * GROUP + (index + 1) * size)


class ByIndex:
    """Map-style data, without an end to stop at."""

    def __init__(self, size):
        self.size, self.read = size, []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.read.append(index)
        return GROUP + index


def test_a_source_that_can_split_itself_does():
    stream = MixedStream([Splitting(0, 12), Splitting(1, 12)], FixedMix(), batch_size=4, order="grouped")
    first, second = islice(load(stream, num_workers=2), 2)
    assert first.tolist() == [0, 1, GROUP, GROUP + 1]
    assert second.tolist() == [6, 7, GROUP + 6, GROUP + 7]


class SplitsTwice(SplitsByWorker):
    """Has shards of its own and splits each by worker besides, as Hugging Face's do."""

    num_shards = 4

    def shard(self, num_shards, index):
        assert num_shards <= self.num_shards
        return SplitsByWorker(self[index::num_shards])


@pytest.mark.parametrize("kind", [SplitsByWorker, SplitsTwice])
@pytest.mark.parametrize("num_workers", [0, 1, 2, 5])
def test_a_source_that_splits_itself_by_worker_loses_nothing(kind, num_workers):
    split = {"a": kind(range(40)), "b": kind(range(GROUP, GROUP + 40))}
    stream = MixedStream(split, FixedMix(), batch_size=2, on_exhausted="stop_first")
    drawn = torch.cat(list(load(stream, num_workers))).tolist()
    assert sorted(drawn) == [*range(40), *range(GROUP, GROUP + 40)]


def test_of_map_style_data_only_the_own_samples_are_read():
    data = ByIndex(12)
    stream = MixedStream([range(12), data], FixedMix(), batch_size=4, num_replicas=3, rank=1, order="grouped")
    batches = list(islice(load(stream), 2))
    assert [batch.tolist()[2:] for batch in batches] == [[GROUP + 1, GROUP + 4], [GROUP + 7, GROUP + 10]]
    assert data.read == [1, 4, 7, 10]


def test_the_prior_are_the_sizes_or_uniform_where_one_is_unknown():
    sized = MixedStream({"a": range(30), "b": [0] * 10}, FixedMix(), batch_size=4)
    assert sized.mixer.proportions.tolist() == [0.75, 0.25]
    assert sized.group_names == sized.mixer.group_names == ["a", "b"]
    unsized = MixedStream([range(30), Numbers(1, 10)], FixedMix(), batch_size=4)
    assert unsized.mixer.proportions.tolist() == [0.5, 0.5]
    assert unsized.group_names == [0, 1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_buffer_shuffles_each_pass_anew_and_a_seed_says_how(num_workers):
    def passes(seed):
        stream = MixedStream(sources(60, 60), FixedMix(), batch_size=4, seed=seed, shuffle_buffer=20, order="grouped")
        batches = list(islice(load(stream, num_workers), 60))
        drawn = [sample for batch in batches for sample in batch.tolist() if sample < GROUP]
        return [drawn[:60], drawn[60:120]]

    first, second = passes(seed=0)
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != sorted(first)
    assert first != second
    assert passes(seed=0) == [first, second]
    assert passes(seed=1) != [first, second]


@pytest.mark.usefixtures("untouched_random_state")
def test_no_global_random_state_is_read_or_changed():
    stream = MixedStream(sources(60, 60), Learn2Mix(0.1), batch_size=4, shuffle_buffer=20)
    for batch in islice(stream, 20):
        stream.observe(losses_of(batch))


# On a busy machine a spawned worker may be ended while it still starts up, and is aborted then, which torch reports.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_spawned_workers_compose_the_same_batches_as_forked_ones():
    def run(context):
        stream = MixedStream(sources(40, 20, 10), Learn2Mix(0.2), batch_size=7)
        return train(stream, 12, 2, multiprocessing_context=context)

    assert run("spawn") == run("fork")


def test_samples_are_collated_as_the_user_wants():
    stream = MixedStream(sources(40, 20), FixedMix(), batch_size=4, collate_fn=str, order="grouped")
    assert next(iter(load(stream))) == str([0, 1, GROUP, GROUP + 1])
    stream = MixedStream([[{"x": 1.0}], [{"x": 2.0}]], FixedMix(), batch_size=2, order="grouped")
    assert next(iter(load(stream)))["x"].tolist() == [1.0, 2.0]
