"""What may be a source, how it is split over those that read it, and what becomes of samples that cannot be used."""

import os
import random
from collections import Counter
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, TensorDataset, get_worker_info

from learn2mix import AlternatingMix, FixedMix, Learn2Mix, MixedLoader, MixedStream
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers, counts_of, load, sources

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)

HALF = [0.5, 0.5]


def drawn(stream, num_batches, num_workers=0, **settings):
    """How often each sample came."""
    return Counter(n for batch in islice(load(stream, num_workers, **settings), num_batches) for n in batch.tolist())


@pytest.mark.parametrize(
    ("samples", "hint"),
    [
        ("data/web.jsonl", "open it"),
        (b"bytes", "open it"),
        ({"x": [1, 2]}, "iterated it gives its keys"),
        (lambda: iter([1]), "call it"),
        (Numbers, "call it"),
        (("web", [1, 2]), r"make a mapping: dict\(sources\)"),
        (MixedStream([[1], [2]], FixedMix(), batch_size=1), "it gives batches"),
        (MixedLoader(MixedStream([[1], [2]], FixedMix(), batch_size=1)), "it gives batches"),
        (7, "got int"),
        (None, "got NoneType"),
    ],
)
def test_what_is_iterable_by_mistake_is_refused_by_name(samples, hint):
    with pytest.raises(TypeError, match=f"sources: 'web' must be an iterable of samples, .*{hint}"):
        MixedStream({"web": samples, "books": [1]}, FixedMix(), batch_size=2)


def test_a_path_and_a_frame_are_refused_too(tmp_path):
    pandas = pytest.importorskip("pandas")
    for samples in (tmp_path, pandas.DataFrame({"x": [1, 2]})):
        with pytest.raises(TypeError, match="sources: 0 must be an iterable of samples"):
            MixedStream([samples, [1]], FixedMix(), batch_size=2)


def test_a_table_of_pyarrow_gives_its_rows_and_not_its_columns():
    arrow = pytest.importorskip("pyarrow", exc_type=ImportError)
    table = arrow.table({"x": [1, 2, 3, 4], "y": [5, 6, 7, 8]})
    for samples in (table, table.to_batches()[0]):
        with pytest.raises(TypeError, match=r"sources: 'web' must be .*it gives its columns.*samples\.to_pylist\(\)"):
            MixedStream({"web": samples, "b": [1]}, FixedMix(), batch_size=1)
    stream = MixedStream([table.to_pylist(), [{"x": 0, "y": 0}]], FixedMix("uniform"), batch_size=4)
    assert next(iter(MixedLoader(stream)))["x"].tolist() == [1, 2, 0, 0]


class Resets(Numbers):
    """Returns itself, and begins anew whenever it is asked for an iterator."""

    def __iter__(self):
        self.inner = super().__iter__()
        return self

    def __next__(self):
        return next(self.inner)


class AsksForWorker(Numbers):
    def __iter__(self):
        worker = get_worker_info()
        part = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return islice(super().__iter__(), part[0], None, part[1])


class Unseeded(AsksForWorker):
    """Splits itself by worker, and each worker shuffles its part in an order of its own."""

    def __iter__(self):
        samples = list(super().__iter__())
        random.SystemRandom().shuffle(samples)
        return iter(samples)


class ShufflesGlobally(Numbers):
    def __iter__(self):
        samples = list(super().__iter__())
        random.shuffle(samples)
        return iter(samples)


class ShufflesByTorch(Numbers):
    def __iter__(self):
        samples = torch.tensor([*super().__iter__()])
        return iter(samples[torch.randperm(len(samples))].tolist())


class OwnOrder(Numbers):
    """Neither split nor seeded: every reader sees another order."""

    def __iter__(self):
        samples = list(super().__iter__())
        random.SystemRandom().shuffle(samples)
        return iter(samples)


@pytest.mark.parametrize("kind", [Resets, AsksForWorker, Unseeded, ShufflesGlobally, ShufflesByTorch])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_sources_that_are_read_without_loss(kind, num_workers):
    stream = MixedStream([kind(0, 60), kind(1, 60)], FixedMix(HALF), batch_size=10)
    times = drawn(stream, 36, num_workers)  # three passes
    assert set(times.values()) == {3}
    assert len(times) == 120


@pytest.mark.usefixtures("untouched_random_state")
def test_the_global_generators_are_left_as_they_were_also_those_of_accelerators(monkeypatch):
    seeds = []
    for accelerator in (torch.cuda, torch.mps, torch.xpu):
        for name in ("manual_seed", "manual_seed_all"):
            monkeypatch.setattr(accelerator, name, seeds.append, raising=False)
    both = [ShufflesGlobally(0, 60), ShufflesByTorch(1, 60)]
    stream = MixedStream(both, FixedMix(HALF), batch_size=10, num_replicas=2, rank=0)
    assert sum(drawn(stream, 12).values()) == 120  # over two passes
    assert seeds == []


def test_a_source_that_returns_itself_may_end_in_the_middle_of_a_batch():
    stream = MixedStream([Resets(0, 7), Resets(1, 5)], FixedMix(HALF), batch_size=4)
    batches = [batch.tolist() for batch in islice(load(stream), 4)]
    assert [n for batch in batches for n in batch if n < GROUP] == [0, 1, 2, 3, 4, 5, 6, 0]


class Tensors(IterableDataset):
    """Samples made anew in each worker, as tensors: alike, but at another place in memory."""

    def __init__(self, group):
        self.group = group

    def __iter__(self):
        elsewhere = [torch.zeros(3) for _ in range(os.getpid() % 97)]
        for number in range(12):
            yield {"x": torch.full((3,), float(number)), "y": torch.tensor(self.group)}
        del elsewhere


@pytest.mark.parametrize("num_workers", [1, 3])
def test_tensors_are_the_same_sample_in_every_worker(num_workers):
    stream = MixedStream([Tensors(0), Tensors(1)], FixedMix("uniform"), batch_size=4)
    drawn = [batch["x"][:, 0].tolist() for batch in islice(MixedLoader(stream, num_workers=num_workers), 6)]
    assert sorted(chain(*drawn)) == sorted([*range(12)] * 2)


def test_an_order_that_differs_between_workers_is_refused():
    stream = MixedStream({"web": OwnOrder(0, 60), "b": range(60)}, FixedMix(HALF), batch_size=10)
    with pytest.raises(RuntimeError, match=r"sources: 'web' has another sample 0 in each worker.*seed"):
        drawn(stream, 12, 3)
    assert len(drawn(MixedStream([OwnOrder(0, 60), range(60)], FixedMix(HALF), batch_size=10), 12, 1)) == 60


class SplitByRank(Numbers):
    """Says, as Hugging Face's do, that it was split."""

    def __init__(self, group, size, rank):
        super().__init__(group, size)
        self._distributed = (rank, 2)

    def __iter__(self):
        return islice(super().__iter__(), self._distributed[0], None, 2)


class AsksForRank(Numbers):
    def __iter__(self):
        return islice(super().__iter__(), dist.get_rank(), None, dist.get_world_size())


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["says so", "asks"])
def test_a_source_that_is_split_by_process_is_not_split_once_more(kind, num_workers, monkeypatch):
    times = Counter()
    for rank in range(2):
        monkeypatch.setattr(dist, "get_rank", lambda rank=rank: rank)
        monkeypatch.setattr(dist, "get_world_size", lambda: 2)
        both = [SplitByRank(group, 40, rank) if kind == "says so" else AsksForRank(group, 40) for group in range(2)]
        stream = MixedStream(both, FixedMix(HALF), batch_size=10, num_replicas=2, rank=rank)
        times += drawn(stream, 12, num_workers)
    assert len(times) == 80
    assert set(times.values()) == {3}


@pytest.mark.parametrize("num_shards", [2, 4, 7])
@pytest.mark.parametrize("num_workers", [0, 3])
def test_hugging_face_s_own_data_sets(num_shards, num_workers):
    pytest.importorskip("pyarrow.lib", exc_type=ImportError)  # it needs a newer NumPy than the oldest one allowed
    datasets = pytest.importorskip("datasets")

    def rows(first):
        return datasets.Dataset.from_dict({"id": list(range(first, first + 50))}).to_iterable_dataset(num_shards)

    stream = MixedStream({"web": rows(0), "books": rows(1000)}, FixedMix(HALF), batch_size=10)
    times = Counter(n for batch in islice(load(stream, num_workers), 40) for n in batch["id"].tolist())
    assert len(times) == 100
    assert max(times.values()) - min(times.values()) <= 2


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_worker_decodes_its_own_samples_only(num_workers):
    decoded = torch.zeros(2, dtype=torch.int64).share_memory_()

    def decode(sample):
        decoded[sample // GROUP] += 1
        return -sample

    stream = MixedStream(sources(400, 400), FixedMix(HALF), batch_size=10, decode_fn=decode)
    batches = list(islice(load(stream, num_workers), 20))
    assert all((batch <= 0).all() for batch in batches)
    assert decoded.sum() <= 10 * (20 + 2 * num_workers + 1), "and those on their way"


class Broken(Numbers):
    """Some samples cannot be read; the iterator survives it."""

    broken = frozenset({3, 17, 18})

    def __iter__(self):
        numbers = super().__iter__()

        class Rows:
            def __iter__(self):
                return self

            def __next__(self):
                number = next(numbers)
                if number % GROUP in Broken.broken:
                    raise OSError(f"corrupt {number % GROUP}")
                return number

        return Rows()


def observed(loader, num_batches):
    """The same in a loop that observes."""
    times = Counter()
    for batch in islice(loader, num_batches):
        loader.observe(1.0 + batch)
        times += Counter(batch.tolist())
    return times


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sample_that_cannot_be_read_costs_that_sample_only(num_workers):
    stream = MixedStream({"a": Broken(0, 40), "b": Numbers(1, 40)}, FixedMix(HALF), batch_size=4)
    loader, times = MixedLoader(stream, num_workers=num_workers, on_error="skip"), Counter()
    with pytest.warns(UserWarning, match=r"MixedLoader: skipped 'a' failed at its sample \d+: OSError: corrupt"):
        times += observed(loader, 18)
    assert set(range(36)) - set(times) == Broken.broken
    assert len(loader.skipped) >= 3


@pytest.mark.parametrize("num_workers", [0, 2])
def test_without_it_an_error_names_source_and_sample_and_the_next_iteration_goes_on(num_workers):
    stream = MixedStream({"a": Broken(0, 40), "b": Numbers(1, 40)}, FixedMix(HALF), batch_size=4)
    loader, seen, errors = MixedLoader(stream, num_workers=num_workers), [], []
    while len(seen) < 15:
        try:
            for batch in loader:
                loader.observe(None)
                seen.append(batch.tolist())
        except RuntimeError as error:
            errors.append(str(error))
    assert len(errors) >= 3
    assert all("sources: 'a' failed at its sample" in error for error in errors)
    assert not Broken.broken & {n for batch in seen for n in batch}


def decode_badly(sample):
    if sample == 5:
        raise ValueError("no image")
    return sample


def test_a_sample_that_cannot_be_decoded_is_named_or_left_out():
    stream = MixedStream({"a": range(40), "b": range(100, 140)}, FixedMix(HALF), batch_size=4, decode_fn=decode_badly)
    with pytest.raises(RuntimeError, match="sources: 'a' sample 5: decode_fn failed: ValueError: no image"):
        drawn(stream, 10)
    loader = MixedLoader(
        MixedStream({"a": range(40), "b": range(100, 140)}, Learn2Mix(), batch_size=4, decode_fn=decode_badly),
        on_error="skip",
    )
    with pytest.warns(UserWarning, match="sample 5"):
        times = observed(loader, 10)
    assert sum(times.values()) == 39
    assert 5 not in times


class Point(NamedTuple):
    x: int
    y: int


class ByRow(NamedTuple):
    y: int
    x: int


@pytest.mark.parametrize("more_in", ["web", "books"])
@pytest.mark.parametrize(
    ("fewer", "more"),
    [
        ({"x": 1}, {"x": 1, "label": 2}),
        ({"x": {"y": 1}}, {"x": {"y": 1, "label": 2}}),
        (([{"x": 1}],), ([{"x": 1, "label": 2}],)),
        (Point(1, 2), ByRow(2, 1)),
    ],
    ids=["flat", "within", "in a list", "fields"],
)
def test_samples_with_other_keys_are_named(fewer, more, more_in):
    both = {name: [more if name == more_in else fewer] * 9 for name in ("web", "books")}
    stream = MixedStream(both, FixedMix(HALF), batch_size=4)
    with pytest.raises(RuntimeError, match=r"of '(web|books)' has the keys .* of '(web|books)' has"):
        next(iter(load(stream)))


def test_samples_of_other_shapes_are_named():
    stream = MixedStream({"web": [torch.zeros(3)] * 9, "books": [torch.zeros(4)] * 9}, FixedMix(HALF), batch_size=4)
    with pytest.raises(RuntimeError, match=r"'books' is a Tensor of shape \(4,\), but sample 0 of 'web' is .* \(3,\)"):
        next(iter(load(stream)))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", [Numbers, lambda group, size: list(Numbers(group, size))])
@pytest.mark.parametrize("num_replicas", [1, 2])
def test_dropped_sources_give_each_sample_once(kind, num_workers, num_replicas):
    sizes, times, numbers = (40, 30, 98), Counter(), []
    for rank in range(num_replicas):
        stream = MixedStream(
            [kind(group, size) for group, size in enumerate(sizes)],
            FixedMix("uniform"),
            batch_size=12 // num_replicas,
            on_exhausted="drop",
            num_replicas=num_replicas,
            rank=rank,
        )
        batches = list(load(stream, num_workers))
        numbers.append(len(batches))
        times += Counter(n for batch in batches for n in batch.tolist())
        assert {len(batch) for batch in batches[:-1]} == {12 // num_replicas}
        assert counts_of(batches[0], 3) in ([4, 4, 4], [2, 2, 2])
    assert numbers == [14] * num_replicas
    assert len(times) == sum(sizes)
    assert set(times.values()) == {1}


@pytest.mark.parametrize(("mode", "sizes"), [("stop_first", (101, 101)), ("stop_all", (101, 55)), ("drop", (7, 90))])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_process_has_the_same_number_of_batches(mode, sizes, num_workers):
    def batches(rank):
        stream = MixedStream(
            sources(*sizes), FixedMix(HALF), batch_size=4, on_exhausted=mode, num_replicas=2, rank=rank
        )
        return [len(list(load(stream, num_workers))) for _ in range(2)]

    assert batches(0) == batches(1)


def test_a_batch_size_for_each_source():
    both = {"small": [torch.zeros(3)] * 50, "large": [torch.zeros(30)] * 50}
    stream = MixedStream(both, AlternatingMix(every=1), batch_size={"small": 20, "large": 2})
    assert [tuple(batch.shape) for batch in islice(load(stream, 2), 4)] == [(20, 3), (2, 30)] * 2
    with pytest.raises(ValueError, match="batch_size: there is no group 'big'; the groups are 'small', 'large'"):
        MixedStream(both, FixedMix(), batch_size={"small": 20, "big": 2})
    with pytest.raises(ValueError, match=r"batch_size must name each of 2 groups, but has no number for 'large'$"):
        MixedStream(both, FixedMix(), batch_size={"small": 20})


def test_a_plain_data_loader_with_workers_says_what_to_use():
    for mixer in (FixedMix(), Learn2Mix()):
        stream = MixedStream(sources(9, 9), mixer, batch_size=2)
        with pytest.raises(RuntimeError, match=r"use MixedLoader\(stream, num_workers=2\)"):
            next(iter(DataLoader(stream, batch_size=None, num_workers=2)))
    assert len(next(iter(DataLoader(MixedStream(sources(9, 9), FixedMix(), batch_size=2), batch_size=None)))) == 2


ADVICE = r"DataLoader\(stream, batch_size=None\), or use MixedLoader"


@pytest.mark.parametrize("arguments", [{}, {"batch_size": 2}])
def test_batches_of_batches_are_refused_before_the_first_where_nothing_is_observed(arguments):
    stream = MixedStream(sources(90, 90), FixedMix(), batch_size=4)
    with pytest.raises(ValueError, match=f"MixedStream: .*{ADVICE}"):
        next(iter(DataLoader(stream, **arguments)))
    assert len(next(iter(MixedLoader(stream)))) == 4


@pytest.mark.parametrize("arguments", [{}, {"batch_size": 2}])
def test_batches_of_batches_are_warned_of_at_the_first_and_their_losses_refused(arguments):
    stream = MixedStream(sources(90, 90), Learn2Mix(), batch_size=4)
    with pytest.warns(UserWarning, match=f"MixedStream: .*{ADVICE}"):
        batch = next(iter(DataLoader(stream, **arguments)))
    for losses in (torch.ones(batch.shape), torch.ones(batch.numel()), torch.ones(4)):
        with pytest.raises(ValueError, match=f"losses: .*{ADVICE}"):
            stream.observe(losses)
    assert len(next(iter(MixedLoader(stream)))) == 4


@pytest.mark.parametrize(
    ("given", "hint"), [(ConcatDataset([[1], [2]]), r"sources\.datasets"), (TensorDataset(torch.ones(3)), "MixedBatch")]
)
def test_one_data_set_is_no_sources(given, hint):
    with pytest.raises(TypeError, match=f"sources must be a mapping or a sequence of iterables, got .*; give .*{hint}"):
        MixedStream(given, FixedMix(), batch_size=2)


class Counted(Numbers):
    def __init__(self, group, size, read):
        super().__init__(group, size)
        self.read = read

    def __iter__(self):
        for number in super().__iter__():
            self.read += 1
            yield number


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "mixer", [lambda: FixedMix(HALF), lambda: Learn2Mix(0.2), lambda: Learn2Mix(0.5, every="epoch")]
)
def test_epochs_that_are_left_early_read_nothing_again(mixer, num_workers):
    read = torch.zeros(1, dtype=torch.int64).share_memory_()
    stream = MixedStream([Counted(0, 10**6, read), Counted(1, 10**6, read)], mixer(), batch_size=10)
    loader, reads = load(stream, num_workers), []
    for _ in range(5):
        before = int(read)
        for batch in islice(loader, 30):
            stream.observe(1.0 + (batch >= GROUP))
        reads.append(int(read) - before)
    assert max(reads) <= 1.5 * 300 * max(1, num_workers)


def test_a_buffer_does_not_wait_until_it_is_full():
    read = torch.zeros(1, dtype=torch.int64)
    both = [Counted(0, 10**6, read), Counted(1, 10**6, read)]
    next(iter(load(MixedStream(both, FixedMix(HALF), batch_size=8, shuffle_buffer=1000))))
    assert int(read) < 100


def test_losses_by_token_move_the_mix_by_token():
    stream = MixedStream([list(repeat(0, 9)), list(repeat(1, 9))], Learn2Mix(1.0), batch_size=4)
    groups = next(iter(load(stream)))
    losses, tokens = torch.tensor([1.0, 3.0, 2.0, 2.0]), torch.tensor([30, 10, 1, 1])
    assert groups.tolist() == [0, 0, 1, 1]
    stream.observe(losses, weights=tokens)
    np.testing.assert_allclose(stream.group_losses, [(30 + 30) / 40, 2.0])


def test_names_of_a_mapping_and_samples_of_any_kind():
    both = {("web", 1): [("a", 1)] * 4, ("web", 2): [("b", 2)] * 4}
    stream = MixedStream(both, FixedMix(HALF), batch_size=2, collate_fn=list)
    assert list(chain.from_iterable(islice(load(stream), 2))) == [("a", 1), ("b", 2)] * 2


def test_a_stream_may_be_made_before_the_process_group_is(monkeypatch):
    settings = {"mixer": FixedMix("uniform"), "batch_size": 4}
    stream = MixedStream(sources(30, 20), **settings)
    told = MixedStream(sources(30, 20), **settings | {"mixer": FixedMix("uniform")}, num_replicas=2, rank=1)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    assert [batch.tolist() for batch in islice(stream, 6)] == [batch.tolist() for batch in islice(told, 6)]


class NeverReadable:
    """Fails for each of its samples, and goes on."""

    def __iter__(self):
        return map(int, repeat("disk on fire"))


def test_a_source_that_fails_for_ever_is_given_up():
    loader = load(MixedStream({"a": range(9), "b": NeverReadable()}, FixedMix(), batch_size=4), on_error="skip")
    with pytest.raises(RuntimeError, match="'b' failed 1000 times in a row"):
        next(iter(loader))


@pytest.mark.parametrize("extra", ["zero_lag", "collate_fn"])
def test_what_a_stream_has_itself_is_refused_by_its_loader(extra):
    stream = MixedStream(sources(30, 20), FixedMix(), batch_size=4)
    with pytest.raises(TypeError, match="collate_fn goes to MixedStream"):
        MixedLoader(stream, num_workers=1, **{extra: list if extra == "collate_fn" else True})


ODD = {
    "names": ({"x": torch.zeros(2)}, {"x": torch.zeros(3)}, r"is \{'x': a Tensor of shape \(3,\)\}"),
    "parts": ((torch.zeros(2), 1), (torch.zeros(3), 1), r"is a tuple of a Tensor of shape \(3,\), a int"),
}


@pytest.mark.parametrize(("ordinary", "odd", "named"), ODD.values(), ids=ODD)
def test_the_sample_that_cannot_be_collated_is_named(ordinary, odd, named):
    stream = MixedStream({"a": [ordinary], "b": [ordinary, odd]}, FixedMix("uniform"), batch_size=4)
    with pytest.raises(RuntimeError, match=f"sample 1 of 'b' {named}"):
        next(iter(load(stream)))
