"""Sources that end, are empty or fail: each by choice, by name, and with whole batches before."""

import copy
import gc
from itertools import chain, cycle, islice

import pytest
import torch

from learn2mix import AlternatingMix, FixedMix, Learn2Mix, MixedBatchSampler, MixedLoader, MixedStream
from pairs import pairs
from streams import (
    GROUP,
    MORE_WORKERS_THAN_CORES,
    Failing,
    Numbers,
    Uneven,
    counts_of,
    groups_of,
    load,
    losses_of,
    opened,
    sources,
)

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)

# Shares, batch size and counts: in multiples, so that the credit is always 0 and the oracle needs none.
MIX, BATCH, COUNTS = [0.5, 0.25, 0.25], 4, [2, 1, 1]


def expected(sizes, mode):
    """Plain Python: the batches of an epoch, whoever reads them."""
    data = [list(range(group * GROUP, group * GROUP + size)) for group, size in enumerate(sizes)]
    ends = [iter(samples) if mode == "stop_first" else cycle(samples) for samples in data]
    batches = []
    while mode == "stop_first" or any(len(batches) * count < len(of) for of, count in zip(data, COUNTS, strict=True)):
        batch = list(chain.from_iterable(islice(end, count) for end, count in zip(ends, COUNTS, strict=True)))
        if len(batch) < BATCH:
            break
        batches.append(batch)
    return batches


@pytest.mark.parametrize(
    ("workers", "sizes", "mode"),
    pairs(
        [(0, Numbers), (1, Numbers), (2, Numbers), (3, Numbers), (3, Uneven), (4, Uneven)],
        [(20, 10, 10), (23, 40, 50), (60, 9, 31), (17, 4, 4)],
        ["stop_first", "stop_all"],
    ),
    ids=str,
)
def test_an_epoch_ends_with_the_first_or_the_last_source(workers, sizes, mode):
    """Also where workers end at different times; the losses still find their batches, and each epoch is the same."""
    num_workers, kind = workers
    stream = MixedStream(sources(*sizes, kind=kind), FixedMix(MIX), batch_size=BATCH, on_exhausted=mode)
    oracle = expected(sizes, mode)
    for _ in range(2):
        seen = []
        for batch in load(stream, num_workers):
            stream.observe(losses_of(batch))
            assert stream.last_observed.counts.tolist() == COUNTS
            seen.append(batch.tolist())
        assert seen == oracle
        assert stream.lag == 0


@pytest.mark.parametrize(("num_workers", "with_b"), [(0, 1), (1, 3), (3, 7)])
def test_a_source_that_no_batch_needs_any_more_may_end(num_workers, with_b):
    stream, drawn = MixedStream(sources(60, 2 * with_b), FixedMix(), batch_size=4, on_exhausted="stop_first"), []
    for batch in load(stream, num_workers):
        stream.observe(None)
        if not drawn:
            stream.mixer.proportions = [1.0, 0.0]
        drawn += batch.tolist()
    assert sum(sample >= GROUP for sample in drawn) == 2 * with_b
    assert sum(sample < GROUP for sample in drawn) >= 60 - 3, "the other is drawn to its end"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_by_default_there_is_no_end(num_workers):
    stream = MixedStream(sources(2, 3, 4), FixedMix(MIX), batch_size=BATCH)
    batches = list(islice(load(stream, num_workers), 101))
    assert [groups_of(batch).tolist() for batch in batches] == [[0, 0, 1, 2]] * 101
    with pytest.raises(TypeError):
        len(load(stream))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_each_epoch_is_shuffled_anew(num_workers):
    stream = MixedStream(sources(40, 40), FixedMix(), batch_size=4, on_exhausted="stop_first", shuffle_buffer=40)
    first, second = (torch.cat(list(load(stream, num_workers))).tolist() for _ in range(2))
    assert sorted(first) == sorted(second) == [*range(40), *range(GROUP, GROUP + 40)]
    assert first != second


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_one_shot_iterator_that_has_to_begin_again_is_refused_by_name(num_workers):
    def make(mode):
        generator = (GROUP + number for number in range(6))
        return MixedStream({"a": range(40), "gen": generator}, FixedMix([0.5, 0.5]), batch_size=2, on_exhausted=mode)

    seen = []
    message = r"sources: 'gen' is a one-shot iterator .* give an object that can be iterated"
    with opened(make("restart"), num_workers) as batches, pytest.raises(ValueError, match=message):
        for batch in batches:
            seen.append(batch.tolist())
    assert len(seen) == 6
    once = make("stop_first")
    assert len(list(load(once, num_workers))) == 6
    if num_workers == 0:
        with pytest.raises(ValueError, match="'gen' is a one-shot iterator"):
            list(load(once))


@pytest.mark.parametrize("kind", [iter, lambda alike: (sample for sample in alike), lambda alike: map(abs, alike)])
def test_one_whose_samples_are_all_alike_is_not_taken_for_begun_anew(kind):
    stream = MixedStream([kind([7] * 40), range(40)], FixedMix([0.5, 0.5]), batch_size=4, on_exhausted="stop_first")
    assert len([*islice(load(stream), 3)]) == 3
    with pytest.raises(ValueError, match="0 is a one-shot iterator"):
        next(iter(load(stream)))


def test_a_one_shot_iterator_goes_on_over_iterations_without_workers():
    stream = MixedStream([range(40), iter(range(GROUP, GROUP + 20))], FixedMix([0.5, 0.5]), batch_size=2)
    seen = [batch.tolist()[1] - GROUP for _ in range(3) for batch in islice(load(stream), 5)]
    assert seen == list(range(15))


class Filtered(Numbers):
    """Does not know that it is empty."""

    def __iter__(self):
        return (sample for sample in super().__iter__() if sample < 0)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("mode", ["restart", "stop_first", "stop_all", "drop"])
def test_an_empty_source_is_named(num_workers, mode):
    stream = MixedStream({"a": range(9), "none": Filtered(1, 9)}, FixedMix(), batch_size=2, on_exhausted=mode)
    with opened(stream, num_workers) as batches, pytest.raises(ValueError, match="sources: 'none' is empty"):
        list(islice(batches, 5))
    with pytest.raises(ValueError, match="sources: 'none' is empty"):
        MixedStream({"a": range(9), "none": []}, FixedMix(), batch_size=2)


class Holds:
    """Reads what it was made with: a generator, an open file."""

    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        yield from self.samples


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("mode", ["restart", "stop_first", "stop_all", "drop"])
def test_a_source_that_holds_what_is_used_up_says_so(num_workers, mode):
    held = {"a": range(20), "held": Holds(iter(range(8)))}
    stream = MixedStream(held, FixedMix([0.5, 0.5]), batch_size=2, on_exhausted=mode)
    loader = load(stream, num_workers)
    with pytest.raises(ValueError, match=r"sources: 'held' is empty, or used up: .* made anew in its __iter__"):
        for _ in range(2):
            list(islice(loader, 30))
    loader.close()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_epoch_that_would_end_before_its_first_batch_is_an_error(num_workers):
    stream = MixedStream(sources(90, 7), FixedMix("uniform"), batch_size=20, on_exhausted="stop_first")
    message = "sources: an epoch without a batch: 'b' has 7 samples, but the first batch needs 10; use a smaller"
    with opened(stream, num_workers) as batches, pytest.raises(ValueError, match=message):
        next(batches)


def test_an_epoch_that_a_resumed_run_finds_at_its_end_is_none():
    def make():
        return MixedStream(sources(90, 9), FixedMix("uniform"), batch_size=10, on_exhausted="stop_first")

    stopped, resumed = make(), make()
    next(iter(load(stopped)))
    stopped.observe(None)
    resumed.load_state_dict(stopped.state_dict())
    assert [len(list(load(resumed))) for _ in range(3)] == [0, 1, 1]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(
    "mixer", [FixedMix([1.0, 0.0]), AlternatingMix(), Learn2Mix(every="epoch", initial=[1.0, 0.0])]
)
def test_stop_all_cannot_wait_for_a_source_that_never_gets_a_share(num_workers, mixer):
    stream = MixedStream(sources(8, 8), copy.deepcopy(mixer), batch_size=2, on_exhausted="stop_all")
    drawn, message = [], "sources: 'b' without a share would never be drawn to the end"
    with opened(stream, num_workers) as batches, pytest.raises(ValueError, match=message):
        for batch in islice(batches, 50):
            stream.observe(None)
            drawn += batch.tolist()
    assert sorted(drawn) == list(range(8)), "all that has a share was drawn"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_stop_all_waits_for_a_source_that_gets_its_share_later(num_workers):
    stream = MixedStream(sources(8, 8), AlternatingMix(every=20), batch_size=2, on_exhausted="stop_all")
    assert len(list(load(stream, num_workers))) == 20 + 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_source_may_have_fewer_samples_than_there_are_readers(num_workers):
    for tiny in ([GROUP, GROUP + 1, GROUP + 2], Numbers(1, 3)):
        stream = MixedStream([range(9), tiny], FixedMix("uniform"), batch_size=4, num_replicas=3, rank=2)
        assert [counts_of(batch, 2) for batch in islice(load(stream, num_workers), 5)] == [[2, 2]] * 5


@pytest.mark.parametrize("num_workers", [0, 1, 2, 4])
@pytest.mark.parametrize("mode", ["restart", "stop_first", "stop_all"])
def test_a_source_that_fails_half_way_is_named_and_the_batches_before_are_whole(num_workers, mode):
    whole = sources(50, 50)
    failing = {"a": Numbers(0, 50), "bad": Failing(1, 50, failing_at=23)}
    settings = {"batch_size": 4, "on_exhausted": mode}
    expected = [batch.tolist() for batch in islice(load(MixedStream(whole, FixedMix(), **settings), num_workers), 12)]
    stream, seen = MixedStream(failing, FixedMix(), **settings), []
    message = "sources: 'bad' failed at its sample 23: OSError: disk on fire"
    with opened(stream, num_workers) as batches, pytest.raises(RuntimeError, match=message):
        for batch in batches:
            stream.observe(losses_of(batch))
            seen.append(batch.tolist())
    assert len(seen) >= 10, "5 samples a shard and more, two a batch"
    assert seen == expected[: len(seen)]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_after_a_failure_the_stream_goes_on_where_it_was(num_workers):
    class FailsOnce(Numbers):
        failing = True

        def __iter__(self):
            return iter(Failing(1, 20, 7) if self.failing else Numbers(1, 20))

    stream = MixedStream([Numbers(0, 20), FailsOnce(1, 20)], FixedMix(), batch_size=4)
    seen = []
    with opened(stream, num_workers) as batches, pytest.raises(RuntimeError, match="failed at its sample 7"):
        for batch in batches:
            stream.observe(None)
            seen.append(batch.tolist())
    FailsOnce.failing = False
    for batch in islice(load(stream, num_workers), 3):
        stream.observe(None)
        seen.append(batch.tolist())
    whole = MixedStream(sources(20, 20), FixedMix(), batch_size=4)
    assert seen == [batch.tolist() for batch in islice(load(whole, num_workers), len(seen))]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"sources": []}, ValueError, "sources must be at least 2 to be mixed, got 0"),
        ({"sources": {"a": [1]}}, ValueError, "sources must be at least 2 to be mixed, got 1"),
        ({"sources": [[1], 5]}, TypeError, "sources: 1 must be an iterable of samples, got int"),
        ({"sources": {"a": [1], "b": None}}, TypeError, "sources: 'b' must be an iterable of samples, got NoneType"),
        ({"sources": iter([[1], [2]])}, TypeError, "sources must be a mapping or a sequence of iterables, got list_it"),
        ({"sources": {"a": [1], None: [2]}}, TypeError, "names of sources must be integers, strings .* got None"),
        ({"sources": {"a": [1], 0.5: [2]}}, TypeError, "names of sources must be integers, strings .* got 0.5"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be a whole number, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": 1 << 64}, ValueError, r"seed must be below 2 \*\* 64"),
        ({"shuffle_buffer": -1}, ValueError, "shuffle_buffer must be at least 0, got -1"),
        (
            {"on_exhausted": "stop"},
            ValueError,
            "on_exhausted must be one of 'restart', 'stop_first', 'stop_all', 'drop', got 'stop'",
        ),
        ({"num_replicas": 2}, ValueError, "num_replicas and rank go together"),
        ({"mixer": "uniform"}, TypeError, "mixer must be a learn2mix.Mixer, got str"),
        (
            {"mixer": FixedMix([1.0, 0.0, 0.0])},
            ValueError,
            "proportions must have one value a group: expected 2, got 3",
        ),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    settings = {"sources": [[1], [2]], "mixer": FixedMix(), "batch_size": 2} | arguments
    with pytest.raises(error, match=f"^{message}"):
        MixedStream(**settings)


def test_losses_that_do_not_fit_are_refused_and_the_batch_goes_on_waiting():
    stream = MixedStream(sources(9, 9), Learn2Mix(0.5), batch_size=2)
    with pytest.raises(ValueError, match="no batch has been handed out yet"):
        stream.observe([1.0, 1.0])
    batches = iter(stream)
    next(batches)
    for losses, message in ([1.0], "shape"), ([1.0, -1.0], "negative"), ([float("nan"), 1.0], "NaN or infinite"):
        with pytest.raises(ValueError, match=message):
            stream.observe(losses)
    assert stream.lag == 1
    stream.observe([1.0, 3.0])
    assert stream.mixer.proportions.tolist() == [0.375, 0.625]
    with pytest.raises(ValueError, match="every batch handed out so far was observed"):
        stream.observe([1.0, 1.0])


def test_an_iterator_that_a_newer_one_replaced_says_so():
    stream = MixedStream(sources(9, 9), FixedMix(), batch_size=2)
    old = iter(stream)
    next(old)
    new = iter(stream)
    with pytest.raises(RuntimeError, match="this iterator is out of date"):
        next(old)
    next(new)


def test_a_sampler_and_a_stream_cannot_share_a_mixer_of_other_groups():
    mixer = FixedMix()
    MixedBatchSampler([0, 0, 1], mixer, batch_size=2)
    with pytest.raises(ValueError, match="already mixes 2 other groups"):
        MixedStream(sources(9, 9), mixer, batch_size=2)


class Says(Numbers):
    """Has a length that is not that of its passes."""

    def __init__(self, group, size, says):
        super().__init__(group, size)
        self.says = says

    def __len__(self):
        return self.says


class Varies(Numbers):
    """Has another number of samples in each pass, as one that packs or drops some at random."""

    def __iter__(self):
        self.turn = getattr(self, "turn", -1) + 1
        return islice(super().__iter__(), self.size - (0, 5, 2)[self.turn % 3])


LENGTHS = {  # what makes the source, and how many samples it has in each epoch
    "shorter": (lambda: Says(0, 20, 30), [20, 20, 20]),
    "longer": (lambda: Says(0, 20, 8), [20, 20, 20]),
    "varies": (lambda: Varies(0, 20), [20, 15, 18]),
}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize(("make", "lengths"), LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize(("mode", "others"), [("drop", 9), ("stop_all", 9), ("stop_first", 40)])
def test_an_epoch_ends_where_the_sources_do_whatever_they_said_before(mode, others, make, lengths, num_workers):
    stream = MixedStream([make(), Numbers(1, others)], FixedMix("uniform"), batch_size=2, on_exhausted=mode)
    loader = load(stream, num_workers)
    for length in lengths:
        given = sorted(n for batch in loader for n in batch.tolist() if n < GROUP)
        assert given == [*range(length)]
    loader.close()


class CountsAll(Says):
    """Counts also the sample that cannot be read."""

    def __iter__(self):
        return map(self.read, super().__iter__())

    def read(self, number):
        if number == 3:
            raise OSError("corrupt")
        return number


@pytest.mark.filterwarnings("ignore:MixedLoader. skipped")
def test_a_sample_that_is_left_out_is_none_of_the_length():
    both = [CountsAll(0, 20, 20), Numbers(1, 20)]
    stream = MixedStream(both, FixedMix("uniform"), batch_size=2, on_exhausted="drop")
    given = [n for batch in MixedLoader(stream, on_error="skip") for n in batch.tolist()]
    assert len(given) == len(set(given)) == 39


class Opens(Numbers):
    """Holds something open while it is read."""

    def __init__(self, group, size, is_open):
        super().__init__(group, size)
        self.is_open = is_open

    def __iter__(self):
        self.is_open.append(self.group)
        try:
            yield from super().__iter__()
        finally:
            self.is_open.remove(self.group)


@pytest.fixture
def uncollected():
    """Nothing is collected that is part of a cycle."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("mode", ["stop_first", "stop_all", "drop"])
def test_epochs_that_are_left_early_leave_nothing_open(mode):
    is_open = []
    both = [Opens(0, 20, is_open), Opens(1, 20, is_open)]
    loader = MixedLoader(MixedStream(both, FixedMix("uniform"), batch_size=2, on_exhausted=mode))
    for _ in range(5):
        assert len([*islice(loader, 3)]) == 3
        assert sorted(is_open) == [0, 1]


class Shorter(Numbers):
    """Half of the samples in the worker of this number."""

    here = worker = None

    def __iter__(self):
        return iter(range(self.size // (1 + (self.here == self.worker))))

    @classmethod
    def be(cls, worker):
        cls.here = worker


@pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)
def test_a_source_that_is_shorter_in_one_worker_than_in_another_is_an_error():
    short = Shorter(0, 20)
    short.worker = 1
    stream = MixedStream({"a": short, "b": Numbers(1, 100)}, FixedMix(), batch_size=4, on_exhausted="stop_first")
    with pytest.raises(RuntimeError, match="'a' has 10 samples here, and more in another worker"):
        list(load(stream, 2, worker_init_fn=Shorter.be))


def test_sources_without_a_share_are_drawn_once_they_alone_are_left():
    both = {"a": range(4), "b": range(10, 14)}
    stream = MixedStream(both, FixedMix([1, 0]), batch_size=2, on_exhausted="drop")
    assert [batch.tolist() for batch in stream] == [[0, 1], [2, 3], [10, 11], [12, 13]]
