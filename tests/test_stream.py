"""What the batches of a stream are made of: exact, without duplicates, the same again, for any number of workers."""

import pickle
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import get_worker_info

from helpers import Scripted, mixes
from learn2mix import FixedMix, Learn2Mix
from learn2mix.batches.stream import MixedStream
from learn2mix.functional import apportion_owed
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers, counts_of, groups_of, load, losses_of, sources, train

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)

SCRIPT = [[0.5, 0.3, 0.2], [0.05, 0.9, 0.05], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.15, 0.85]]


@pytest.mark.parametrize("num_workers", [0, 1, 4])
def test_every_batch_is_exact_whatever_the_mix(num_workers):
    """Each shard hands out its batches with a credit of its own; batch t is of shard t % num_workers."""
    stream = MixedStream(sources(40, 20, 10), Scripted(SCRIPT), batch_size=7)
    shards = max(1, num_workers)
    credit = np.zeros((shards, 3))
    for place, batch in enumerate(islice(load(stream, num_workers), 41)):
        mix = np.array(SCRIPT[place % len(SCRIPT)])
        owed = credit[place % shards] + mix * 7
        expected = apportion_owed(owed, 7)
        credit[place % shards] = owed - expected
        assert counts_of(batch, 3) == expected.tolist()
        assert groups_of(batch).tolist() == sorted(groups_of(batch)), "group after group"


@given(st.lists(mixes(3), min_size=1, max_size=12), st.integers(1, 9))
@settings(max_examples=25)
def test_each_group_has_had_its_summed_share_to_within_a_sample_or_so(script, batch_size):
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
        assert stream.group_losses is seen
    assert len(stream.mixer.seen) == 20


@pytest.mark.parametrize("num_workers", [0, 1, 4])
@pytest.mark.parametrize("num_replicas", [1, 2])
@pytest.mark.parametrize("buffer", [0, 5])
def test_no_sample_comes_twice_before_all_have_come_over_workers_and_processes(num_workers, num_replicas, buffer):
    size = 16 * max(1, num_workers) * num_replicas  # of each source: every shard ends its pass with its fourth batch
    drawn, counts = [], []
    for rank in range(num_replicas):
        stream = MixedStream(
            sources(size, size),
            FixedMix(),
            batch_size=8,
            num_replicas=num_replicas,
            rank=rank,
            shuffle_buffer=buffer,
        )
        batches = list(islice(load(stream, num_workers), 4 * max(1, num_workers)))
        drawn += torch.cat(batches).tolist()
        counts.append([counts_of(batch, 2) for batch in batches])
    assert sorted(drawn) == [*range(size), *range(GROUP, GROUP + size)]
    assert all(one == counts[0] for one in counts), "every process composes the same counts"


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
    stream = MixedStream([Splitting(0, 12), Splitting(1, 12)], FixedMix(), batch_size=4)
    first, second = islice(load(stream, num_workers=2), 2)
    assert first.tolist() == [0, 1, GROUP, GROUP + 1]
    assert second.tolist() == [6, 7, GROUP + 6, GROUP + 7]


class SplitsByWorker(list):
    """Splits itself by worker, as torch's documentation advises."""

    def __iter__(self):
        worker = get_worker_info()
        return islice(super().__iter__(), *((0, None) if worker is None else (worker.id, None, worker.num_workers)))


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


def test_of_map_style_data_only_the_own_shard_is_read():
    data = ByIndex(12)
    stream = MixedStream([range(12), data], FixedMix(), batch_size=4, num_replicas=3, rank=1)
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
        stream = MixedStream(sources(60, 60), FixedMix(), batch_size=4, seed=seed, shuffle_buffer=20)
        batches = list(islice(load(stream, num_workers), 60))
        drawn = [sample for batch in batches[:: max(1, num_workers)] for sample in batch.tolist() if sample < GROUP]
        size = 60 // max(1, num_workers)
        return [drawn[:size], drawn[size : 2 * size]]

    first, second = passes(seed=0)
    assert sorted(first) == sorted(second) == list(range(0, 60, max(1, num_workers)))
    assert first != sorted(first)
    assert first != second
    assert passes(seed=0) == [first, second]
    assert passes(seed=1) != [first, second]


@pytest.mark.usefixtures("untouched_random_state")
def test_no_global_random_state_is_read_or_changed():
    stream = MixedStream(sources(60, 60), Learn2Mix(0.1), batch_size=4, shuffle_buffer=20)
    for batch in islice(stream, 20):
        stream.observe(losses_of(batch))


def test_spawned_workers_compose_the_same_batches_as_forked_ones():
    def run(context):
        stream = MixedStream(sources(40, 20, 10), Learn2Mix(0.2), batch_size=7)
        return train(stream, 12, 2, multiprocessing_context=context)

    assert run("spawn") == run("fork")


def test_a_worker_is_told_which_process_it_belongs_to():
    """A spawned worker cannot ask torch.distributed."""
    stream = MixedStream(sources(40, 20), FixedMix(), batch_size=4)
    stream._composer.processes = type("Live", (), {"num_replicas": 4, "rank": 3})()
    copy = pickle.loads(pickle.dumps(stream))
    assert (copy.num_replicas, copy.rank) == (4, 3)
    assert copy.mixer.group_names == ["a", "b"]


def test_samples_are_collated_as_the_user_wants():
    stream = MixedStream(sources(40, 20), FixedMix(), batch_size=4, collate_fn=str)
    assert next(iter(load(stream))) == str([0, 1, GROUP, GROUP + 1])
    stream = MixedStream([[{"x": 1.0}], [{"x": 2.0}]], FixedMix(), batch_size=2)
    assert next(iter(load(stream)))["x"].tolist() == [1.0, 2.0]
