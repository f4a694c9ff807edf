"""Samples as one batch and back: what torch's own `default_collate` makes of them, whichever way they travelled."""

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import default_collate
from torch.utils.data._utils.collate import default_collate_fn_map

from learn2mix.loader.chunks import Chunk, Chunks, match
from learn2mix.workers import packing
from learn2mix.workers.packing import Block, Packed
from learn2mix.workers.stacking import Stacked, block_size, common_kind, gather, is_stacked, stack


class Point(NamedTuple):
    x: Any
    y: Any


def alike(a, b):
    """Whether two values are the same in type, data type, shape and content, part for part."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(alike, a, b))
    return a == b


TENSORS = [torch.float32, torch.float64, torch.bfloat16, torch.uint8, torch.int64, torch.bool, torch.complex64]
ARRAYS = [np.float32, np.float64, np.int32, np.uint8, np.bool_, np.complex64]
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


def values(shape, number):
    return np.arange(np.prod(shape, dtype=int)).reshape(shape) + number


# A maker makes the sample of a number.
leaves = st.one_of(
    st.builds(lambda shape, of: lambda n: torch.as_tensor(values(shape, n)).to(of), shapes, st.sampled_from(TENSORS)),
    st.builds(lambda shape, of: lambda n: np.asarray(values(shape, n)).astype(of), shapes, st.sampled_from(ARRAYS)),
    st.builds(lambda of: lambda n: of(n), st.sampled_from([np.float32, np.int64, np.uint8, np.bool_])),
    st.sampled_from([lambda n: n, lambda n: n / 3, lambda n: n % 2 == 0, str, lambda n: bytes([n])]),
    st.just(lambda n: torch.arange(12).reshape(3, 4).t() + n),  # not contiguous
)


def containers(parts):
    several = st.lists(parts, min_size=1, max_size=3)
    return st.one_of(
        several.map(lambda makers: lambda n: tuple(make(n) for make in makers)),
        several.map(lambda makers: lambda n: [make(n) for make in makers]),
        several.map(lambda makers: lambda n: {f"key {i}": make(n) for i, make in enumerate(makers)}),
        st.tuples(parts, parts).map(lambda makers: lambda n: Point(makers[0](n), makers[1](n))),
    )


makers = st.recursive(leaves, containers, max_leaves=5)


def stacked(samples):
    kind = common_kind(samples)
    return stack(samples, kind, Block(block_size(kind, len(samples))))


@given(makers, st.integers(1, 5), st.sampled_from([1, 3000]))
def test_a_batch_is_that_of_default_collate_and_its_samples_are_the_samples(make, num_samples, times):
    samples = [make(number) for number in range(num_samples)] * (times // num_samples or 1)
    kind = common_kind(samples)
    block = Block(block_size(kind, len(samples)))
    travelled = Packed(stack(samples, kind, block), block).unpack()
    assert alike(travelled.batch, default_collate(samples))
    assert alike(travelled.samples(), samples)


@given(makers, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=8))
def test_a_batch_gathered_from_several_is_that_of_its_samples(make, picked):
    numbers = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    batches = [[make(number) for number in part] for part in numbers]
    parts = list(map(stacked, batches))
    assert is_stacked(parts)
    owners, rows = np.array(picked).T
    expected = default_collate([batches[owner][row] for owner, row in picked])
    assert alike(gather(parts, owners, rows).batch, expected)


def test_large_samples_are_gathered_too():
    parts = [[torch.full((40, 40), number) for number in part] for part in ([1, 2], [3])]
    gathered = gather(list(map(stacked, parts)), np.array([1, 0, 0]), np.array([0, 1, 0])).batch
    assert gathered[:, 0, 0].tolist() == [3, 2, 1]
    assert gathered.shape == (3, 40, 40)


MIXED = {
    "a number and a fraction": [1, 2.5],
    "a number and a truth": [(1, 2), (1, True)],
    "shapes": [torch.zeros(2), torch.zeros(3)],
    "data types": [torch.zeros(2), torch.zeros(2, dtype=torch.int64)],
    "lengths": [(1, 2), (1, 2, 3)],
    "names": [{"a": 1}, {"b": 1}],
    "none": [None, None],
    "empty": [(), ()],
    "objects": [object(), object()],
    "gradients": [torch.zeros(2, requires_grad=True)] * 2,
    "sparse": [torch.eye(2).to_sparse()] * 2,
    "a class of its own": [torch.nn.Parameter(torch.zeros(2), requires_grad=False)] * 2,
    "text": [np.array(["a"])] * 2,
}


@pytest.mark.parametrize("samples", MIXED.values(), ids=MIXED)
def test_what_is_not_of_one_kind_is_left_to_whoever_collates(samples):
    assert common_kind(samples) is None


def test_so_is_everything_where_the_user_has_a_way_of_collating_tensors(monkeypatch):
    assert common_kind([torch.zeros(2)]) is not None, "torch's own way is known"
    monkeypatch.setitem(default_collate_fn_map, torch.Tensor, lambda batch, *, collate_fn_map: batch)
    assert common_kind([torch.zeros(2)]) is None


@given(makers, st.integers(1, 4))
def test_a_list_travels_as_it_is_and_can_be_written_to(make, num_samples):
    samples = [make(number) for number in range(num_samples)]
    travelled = Packed(samples).unpack()
    assert alike(travelled, samples)
    large = Packed([torch.zeros(1 << 15), np.ones(1 << 15), "name", torch.ones(2, requires_grad=True)]).unpack()
    large[0] += 1
    large[1] += 1
    assert (large[0].sum(), large[1].sum(), large[2]) == (1 << 15, 1 << 16, "name")
    assert large[3].requires_grad
    assert large[3].tolist() == [1, 1]


def no_room(path):
    class Room:
        f_bavail, f_frsize = 10, 4096

    return Room


def none_at_all(num_bytes):
    raise RuntimeError("unable to open shared memory object")


@pytest.mark.skipif(not packing.os.path.isdir(packing.SHARED_MEMORY), reason="shared memory is elsewhere")
@pytest.mark.parametrize("shortage", ["has no room for 128 KiB", "unable to open shared memory"])
def test_what_finds_no_shared_memory_goes_through_the_pipe_with_the_reason(shortage, monkeypatch):
    if "room" in shortage:
        monkeypatch.setattr(packing.os, "statvfs", no_room)
    else:
        monkeypatch.setattr(torch.UntypedStorage, "_new_shared", none_at_all)
    packed = Packed([torch.arange(1 << 14)])
    with pytest.warns(UserWarning, match=f"{shortage}.*docker run --shm-size"):
        (travelled,) = packed.unpack()
    assert torch.equal(travelled, torch.arange(1 << 14))


few = st.integers(0, 5)


@given(st.lists(few, max_size=8), st.lists(few, max_size=8))
def test_each_value_is_matched_with_as_many_as_there_are(wanted, there):
    found = match(np.array(wanted, dtype=np.int64), np.array(there, dtype=np.int64)).tolist()
    hits = [place for place in found if place >= 0]
    assert len(set(hits)) == len(hits)
    assert all(place < 0 or there[place] == value for value, place in zip(wanted, found, strict=True))
    assert len(hits) == (Counter(wanted) & Counter(there)).total()


arrays = st.lists(few, min_size=1, max_size=4).map(np.array)


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "missing"]), arrays), max_size=12))
def test_samples_are_there_as_often_as_they_were_added_and_not_taken(steps):
    chunks, there = Chunks(), Counter()
    for step, indices in steps:
        wanted = Counter(indices.tolist())
        if step == "add":
            chunks.add(Chunk(indices))
            there += wanted
        elif step == "take":
            having, owners, rows = chunks.take(indices)
            got = Counter()
            for index, owner, row in zip(indices, owners, rows, strict=True):
                if owner >= 0:
                    assert having[owner].indices[row] == index
                    assert not having[owner].free[row]
                    got[index] += 1
            assert got == wanted & there
            there -= got
        else:
            batches = [indices, indices[:1]]
            missing = chunks.missing(batches, most_spare=1000)
            lacking = Counter(np.concatenate([*missing, []]).tolist())
            assert lacking == wanted + Counter(indices[:1].tolist()) - there
            assert all(len(part) <= len(indices) for part in missing)


def test_of_what_no_batch_needs_any_more_the_oldest_is_given_up():
    chunks = Chunks()
    for start in (0, 10, 20):
        chunks.add(Chunk(np.arange(start, start + 10)))
    chunks.missing([np.array([3, 25])], most_spare=12)
    _, owners, _ = chunks.take(np.arange(30))
    assert (owners >= 0).nonzero()[0].tolist() == [3, *range(17, 30)]


def test_a_chunk_of_which_little_is_left_gives_its_memory_back():
    for content in (stacked([torch.zeros(4) + n for n in range(5)]), ["a", "b", "c"]):
        samples = content.samples() if isinstance(content, Stacked) else list(content)
        chunk = Chunk(np.arange(len(samples)))
        chunk.content = content
        chunk.free[:] = np.arange(len(samples)) == 1
        chunk.shrink()
        assert (chunk.indices.tolist(), chunk.free.tolist()) == ([1], [True])
        assert alike(chunk.samples(), samples[1:2])
        if isinstance(content, Stacked):
            assert chunk.samples()[0].untyped_storage().nbytes() == 16
