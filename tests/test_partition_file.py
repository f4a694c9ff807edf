"""A partition is written once, and read as a memory map that processes share."""

import copy
import os
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learn2mix import FixedMix, MixedBatchSampler, Partition

names = st.recursive(
    st.one_of(st.integers(), st.text(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)


def saved(partition, folder):
    partition.save(folder / "groups")
    return Partition.load(folder / "groups")


def assert_same(one, other):
    assert one.group_names == other.group_names
    assert list(map(repr, one.group_names)) == list(map(repr, other.group_names))
    assert one.sizes.tolist() == other.sizes.tolist()
    assert one.index_dtype == other.index_dtype
    assert one.fingerprint() == other.fingerprint()
    for group in range(one.num_groups):
        assert one.indices(group).tolist() == other.indices(group).tolist()


def rehashed(partition):
    """The fingerprint, computed anew."""
    order = np.concatenate([partition.indices(group) for group in range(partition.num_groups)])
    return Partition(partition.sizes, partition.group_names, order).fingerprint()


@given(st.lists(names, min_size=1, max_size=5, unique=True), st.data())
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, group_names, data):
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=len(group_names), max_size=len(group_names)).filter(any))
    order = data.draw(st.permutations(range(sum(sizes))))
    dtype = data.draw(st.sampled_from([np.int32, np.int64]))
    folder = tmp_path_factory.mktemp("partition")
    for partition in (Partition(sizes, group_names, np.array(order, dtype=dtype)), Partition(sizes, group_names)):
        assert_same(saved(partition, folder), partition)
        assert os.listdir(folder) == ["groups"]


def test_a_loaded_partition_gives_the_same_batches(tmp_path):
    labels = np.random.default_rng(0).integers(0, 5, 1000)
    batches = [
        list(MixedBatchSampler(partition, FixedMix("uniform"), batch_size=50, seed=3))
        for partition in (Partition.by_class(labels), saved(Partition.by_class(labels), tmp_path))
    ]
    assert batches[0] == batches[1]


def test_it_is_mapped_and_not_read(tmp_path):
    Partition.by_class(np.arange(3_000_000) % 4).save(tmp_path / "groups")
    tracemalloc.start()
    try:
        partition = Partition.load(tmp_path / "groups")
        again = pickle.loads(pickle.dumps(partition))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 100_000
    assert partition.num_samples == again.num_samples == 3_000_000
    with pytest.raises(ValueError, match="read-only"):
        partition.indices(1)[0] = 1


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_map_the_file_instead_of_carrying_the_samples(tmp_path, again, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Partition.by_class(np.arange(100_000) % 4).save("groups")
    partition = Partition.load("groups")
    assert len(pickle.dumps(partition)) < 1000
    monkeypatch.chdir("/")  # a worker may be somewhere else
    assert_same(again(partition), partition)
    assert_same(again(again(partition)), partition)


def test_one_by_data_sets_carries_itself(tmp_path):
    partition = saved(Partition.by_dataset([range(10**12), range(3)]), tmp_path)
    os.remove(tmp_path / "groups")
    copied = pickle.loads(pickle.dumps(partition))
    assert copied.sizes.tolist() == [10**12, 3]


def send(partition, queue):
    queue.put((partition.fingerprint(), partition.indices(1)[:3].tolist()))


@pytest.mark.heavy
def test_another_process_maps_the_same_file(tmp_path, unforked):
    partition = saved(Partition.by_class(np.arange(1000) % 4), tmp_path)
    queue = unforked.Queue()
    process = unforked.Process(target=send, args=(partition, queue))
    process.start()
    assert queue.get(timeout=120) == (partition.fingerprint(), [1, 5, 9])
    process.join()


def test_saving_over_a_file_leaves_those_alone_who_have_it_mapped(tmp_path):
    first = saved(Partition.by_class([0, 1, 0, 1]), tmp_path)
    second = saved(Partition.by_class([0, 0, 0, 1]), tmp_path)
    assert [rehashed(first), rehashed(second)] == [first.fingerprint(), second.fingerprint()]
    saved(second, tmp_path)  # over the very file that it is mapped from
    assert rehashed(second) == second.fingerprint()


def test_a_copy_of_a_partition_whose_file_was_replaced_is_an_error(tmp_path):
    first = saved(Partition.by_class([0, 1, 0, 1]), tmp_path)
    sent = pickle.dumps(first)
    Partition.by_class([0, 0, 0, 1]).save(tmp_path / "groups")
    with pytest.raises(ValueError, match="has another partition than when this copy was sent"):
        pickle.loads(sent)
    os.remove(tmp_path / "groups")
    with pytest.raises(FileNotFoundError, match="groups"):
        pickle.loads(sent)


def test_a_file_that_was_changed_anywhere_is_an_error_or_makes_no_difference(tmp_path):
    path = tmp_path / "groups"
    partition = Partition.by_class(["cat", "dog", "cat", "dog"])
    partition.save(path)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert_same(Partition.load(path), partition)
        except ValueError:
            refused += 1
    assert refused > 0.9 * (len(whole) - whole.count(b" "))  # spaces fill the headers
    for wrong in (b"", b"no partition", whole[: whole.rindex(b"\x93NUMPY") - 3], whole[:-1], whole + b"\0"):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"^path.*groups"):
            Partition.load(path)


def test_a_file_of_another_version_says_what_to_do(tmp_path):
    path = tmp_path / "groups"
    Partition.by_class([0, 1]).save(path)
    path.write_bytes(path.read_bytes().replace(b'"partition": 1', b'"partition": 9'))
    with pytest.raises(
        ValueError, match="of version 9, and this learn2mix reads 1; make the partition from the labels"
    ):
        Partition.load(path)


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Partition.by_class([0, 1]).save(tmp_path / "nowhere" / "groups")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        Partition.by_class([0, 1]).save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]
