"""Streams of Hugging Face's own iterable data sets."""

from itertools import islice

import numpy as np
import pytest

import forks
from helpers import through_a_file
from learn2mix import FixedMix, MixedLoader, MixedStream

pytest.importorskip("pyarrow.lib", exc_type=ImportError)  # it needs a newer NumPy than the oldest one allowed
datasets = pytest.importorskip("datasets")


def rows(first, size=24):
    return datasets.Dataset.from_dict({"id": [*range(first, first + size)]}).to_iterable_dataset(num_shards=3)


KINDS = {
    "plain": rows,
    "mapped in batches": lambda first: rows(first).map(lambda batch: batch, batched=True, batch_size=5),
    "filtered": lambda first: rows(first).filter(lambda row: row["id"] % 3 > 0),
    "shuffled": lambda first: rows(first).shuffle(seed=0, buffer_size=8),
    "shuffled, then mapped": lambda first: rows(first).shuffle(seed=0, buffer_size=8).map(lambda row: row),
    "with one that is shuffled": lambda first: datasets.concatenate_datasets(
        [rows(first, 12), rows(first + 12, 12).shuffle(seed=0, buffer_size=8)]
    ),
    "interleaved": lambda first: datasets.interleave_datasets([rows(first, 12), rows(first + 12, 12)]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_workers", "num_replicas"), [(0, 1), (2, 1), (0, 2), (2, 2)])
def test_a_run_that_is_stopped_goes_on_unbroken_over_several_passes(kind, num_workers, num_replicas):
    def load(state=None):
        split = {"num_replicas": num_replicas, "rank": num_replicas - 1}
        stream = MixedStream([KINDS[kind](0), KINDS[kind](1000)], FixedMix("uniform"), batch_size=4, **split)
        loader = MixedLoader(stream, num_workers=num_workers)
        if state is not None:
            loader.load_state_dict(through_a_file(state))
        return loader

    def batches(loader, count):
        return [batch["id"].tolist() for batch in islice(loader, count)]

    unbroken = load()
    all_batches = batches(unbroken, 30)
    for stop in (9,) if num_workers or num_replicas > 1 else (1, 9, 17):
        stopped = load()
        before = batches(stopped, stop)
        again = load(stopped.state_dict())
        assert before + batches(again, 30 - stop) == all_batches
        stopped.close()
        again.close()
    unbroken.close()


def test_states_of_versions_that_lose_samples_are_not_gone_on_from(monkeypatch):
    def batches(loader, count):
        return [batch["id"].tolist() for batch in islice(loader, count)]

    def load():
        return MixedLoader(MixedStream([rows(0), rows(1000)], FixedMix("uniform"), batch_size=4))

    unbroken, newer, older = load(), load(), load()
    all_batches = batches(unbroken, 12)
    batches(newer, 5)
    saved_by_newer = newer.state_dict()
    monkeypatch.setattr(datasets, "__version__", "4.8.5")
    monkeypatch.setattr(datasets.IterableDataset, "load_state_dict", lambda self, state: self.skip(3))  # as if lost
    batches(older, 5)
    for state in (saved_by_newer, older.state_dict()):
        again = load()
        again.load_state_dict(state)
        assert batches(again, 7) == all_batches[5:]


@pytest.mark.parametrize("mode", ["stop_first", "stop_all", "drop"])
def test_data_that_are_split_by_process_cannot_tell_where_they_end(mode):
    from datasets.distributed import split_dataset_by_node

    both = {name: split_dataset_by_node(rows(first), rank=0, world_size=2) for name, first in (("a", 0), ("b", 1000))}
    stream = MixedStream(both, FixedMix("uniform"), batch_size=4, on_exhausted=mode, num_replicas=2, rank=0)
    with pytest.raises(ValueError, match="sources: 'a' is split by process"):
        next(iter(MixedLoader(stream)))


def of_uneven_files(first):
    return datasets.concatenate_datasets([rows(first, 30), rows(first + 30, 6)])  # six files


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_is_skipped_and_taken_does_not_depend_on_the_workers(num_workers):
    both = [of_uneven_files(first).skip(2).take(32) for first in (0, 1000)]
    loader = MixedLoader(MixedStream(both, FixedMix("uniform"), batch_size=8), num_workers=num_workers)
    drawn = [number for batch in islice(loader, 16) for number in batch["id"].tolist()]
    loader.close()
    assert sorted(drawn) == sorted([*range(2, 34), *range(1002, 1034)] * 2)


def test_a_part_without_samples_is_named():
    both = {"a": rows(0).filter(lambda row: row["id"] < 8), "b": rows(1000)}  # only its first file has some
    loader = MixedLoader(MixedStream(both, FixedMix("uniform"), batch_size=4), num_workers=2)
    with pytest.raises(ValueError, match="sources: 'a' has no samples in part 1 of the 2 that it splits itself into"):
        list(islice(loader, 4))
    loader.close()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_process_reads_its_own_part_of_data_that_are_split_by_process(num_workers):
    from datasets.distributed import split_dataset_by_node

    drawn = []
    for rank in (0, 1):
        both = [split_dataset_by_node(rows(first), rank=rank, world_size=2) for first in (0, 1000)]
        stream = MixedStream(both, FixedMix("uniform"), batch_size=4, num_replicas=2, rank=rank)
        loader = MixedLoader(stream, num_workers=num_workers)
        for batch in islice(loader, 6):
            drawn += batch["id"].tolist()
        loader.close()
    assert sorted(drawn) == [*range(24), *range(1000, 1024)]


SPLIT_OR_SHUFFLED = {
    "split by hand": lambda rank: rows(0).shard(num_shards=2, index=rank),
    "shuffled without a seed": lambda rank: rows(0).shuffle(buffer_size=8, generator=np.random.default_rng(rank)),
}


@pytest.mark.parametrize("kind", SPLIT_OR_SHUFFLED)
@pytest.mark.parametrize("num_workers", [0, 2])
def test_data_that_are_others_on_each_process_are_noticed_at_the_first_update(tmp_path, kind, num_workers):
    def train(rank):
        forks.gloo(rank, 2, tmp_path)
        stream = MixedStream({"a": SPLIT_OR_SHUFFLED[kind](rank), "b": rows(1000)}, FixedMix("uniform"), batch_size=4)
        loader = MixedLoader(stream, num_workers=num_workers)
        for _ in islice(loader, 4):
            loader.observe(None)
        stream.finish_epoch()

    for outcome in forks.outcomes(train, 2, tmp_path):
        assert "rank 1 has another first sample of 'a' than rank 0" in outcome.error
        assert "split_dataset_by_node" in outcome.error
