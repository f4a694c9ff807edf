"""The samples of a stream: those that the user's functions write to, and those that cannot be read."""

import json
from collections import Counter, deque
from dataclasses import dataclass
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from learn2mix import FixedMix, Learn2Mix, MixedLoader, MixedStream
from learn2mix.workers.copies import copy_of
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers, load, sources

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)


class Rows(Numbers):
    """Samples as JSON lines give them: made anew by each pass."""

    def __iter__(self):
        return ({"x": json.dumps(number)} for number in super().__iter__())


def decode_in_place(row):
    row["x"] = json.loads(row["x"])
    return row


def collate_by_pop(rows):
    return {"x": torch.tensor([json.loads(row.pop("x")) for row in rows])}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("functions", [{"decode_fn": decode_in_place}, {"collate_fn": collate_by_pop}])
@pytest.mark.parametrize("kind", [Rows, lambda *of: list(Rows(*of))])
def test_what_is_read_again_is_what_the_source_gave(kind, functions, num_workers):
    """Batches composed ahead are read again where an epoch is left early, and so is one that was looked at."""
    stream = MixedStream([kind(0, 50), kind(1, 50)], FixedMix("uniform"), batch_size=4, **functions)
    loader = MixedLoader(stream, num_workers=num_workers)
    look = next(iter(loader))["x"].tolist()
    epochs = [[batch["x"].tolist() for batch in islice(loader, 3)] for _ in range(4)]
    loader.close()
    assert look == epochs[0][0] == [0, 1, GROUP, GROUP + 1]
    assert sorted(chain(*chain(*epochs))) == [*range(24), *range(GROUP, GROUP + 24)]


BUFFER = np.zeros(3)
GIVEN = {  # by a source that writes its number to a buffer, each as a function of the buffer
    "the buffer": lambda buffer: buffer,
    "a view of it": lambda buffer: {"x": buffer[:2], "y": 1},
    "a tensor of it": lambda buffer: (torch.from_numpy(buffer), 1),
    "a mapping": lambda buffer, row={}: row.update(x=buffer[0]) or row,
}


class Buffered(Numbers):
    """Writes each number to one buffer."""

    def __init__(self, *args, give):
        super().__init__(*args)
        self.give = give

    def __iter__(self):
        for number in super().__iter__():
            BUFFER[:] = number
            yield self.give(BUFFER)


@pytest.mark.parametrize("decode", [None, lambda sample: sample])
@pytest.mark.parametrize("settings", [{}, {"shuffle_buffer": 8}])
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("give", GIVEN)
def test_one_object_that_is_given_again_and_again_is_an_error(give, num_workers, settings, decode):
    ones = [Buffered(group, 50, give=GIVEN[give]) for group in range(2)]
    loader = MixedLoader(
        MixedStream(ones, FixedMix("uniform"), batch_size=4, decode_fn=decode, **settings), num_workers=num_workers
    )
    with pytest.raises(ValueError, match="sources: 0 gives the same object for each sample and overwrites it"):
        next(iter(loader))


class InTurn(Numbers):
    """Writes its numbers to some buffers in turn, as what reads ahead does."""

    def __init__(self, *args, num_buffers):
        super().__init__(*args)
        self.buffers = np.zeros((num_buffers, 3))

    def __iter__(self):
        for number in super().__iter__():
            buffer = self.buffers[number % len(self.buffers)]
            buffer[:] = number
            yield buffer


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("num_buffers", [2, 3, 7])
def test_so_it_is_where_several_are_given_in_turn(num_buffers, num_workers):
    ones = [InTurn(group, 50, num_buffers=num_buffers) for group in range(2)]
    loader = MixedLoader(MixedStream(ones, FixedMix("uniform"), batch_size=16), num_workers=num_workers)
    with pytest.raises(ValueError, match="sources: 0 gives the same object for each sample and overwrites it"):
        next(iter(loader))


@pytest.mark.parametrize("give", GIVEN)
def test_copies_of_it_and_one_that_stays_as_it_is_are_right(give):
    def copies(buffer):
        return copy_of(GIVEN[give](buffer))

    same = copies(np.zeros(3))
    ones = [Buffered(0, 50, give=copies), Buffered(1, 50, give=lambda buffer: same)]
    loader = MixedLoader(MixedStream(ones, FixedMix("uniform"), batch_size=4))
    assert len(list(islice(loader, 40))) == 40


class Point(NamedTuple):
    at: list


@dataclass
class Text:
    tokens: list


class Named(dict):
    """A mapping of its own kind."""


@pytest.mark.parametrize(
    ("sample", "write"),
    [
        ([1, 2], lambda sample: sample.append(3)),
        ([[1], [2]], lambda sample: sample[0].append(3)),
        ({"x": {"y": [1]}}, lambda sample: sample["x"]["y"].clear()),
        (Named(x=[1]), lambda sample: sample["x"].append(2)),
        (("a", [1]), lambda sample: sample[1].append(2)),
        (Point([1]), lambda sample: sample.at.append(2)),
        (Text([1]), lambda sample: sample.tokens.append(2)),
        (Text([1]), lambda sample: setattr(sample, "tokens", [])),
        ({"x": {1, 2}}, lambda sample: sample["x"].clear()),
        (deque([1]), lambda sample: sample.append(2)),
        (bytearray(b"ab"), lambda sample: sample.append(99)),
        (np.arange(3), lambda sample: sample.fill(7)),
        (torch.arange(3), lambda sample: sample.fill_(7)),
    ],
    ids=lambda value: type(value).__name__ if not callable(value) else "",
)
def test_a_copy_may_be_written_to(sample, write):
    before, copied = str(sample), copy_of(sample)
    assert type(copied) is type(sample)
    assert str(copied) == before
    write(copied)
    assert str(copied) != before
    assert str(sample) == before


class Survives(Numbers):
    """Some of its samples cannot be read; the iterator survives it."""

    def __init__(self, group, size, broken):
        super().__init__(group, size)
        self.broken = broken

    def __iter__(self):
        return map(self.read, super().__iter__())

    def read(self, number):
        if number % GROUP in self.broken:
            raise OSError(f"corrupt {number % GROUP}")
        return number


class ReturnsItself(Survives):
    def __iter__(self):
        self.inner = super().__iter__()
        return self

    def __next__(self):
        return next(self.inner)


@pytest.mark.filterwarnings("ignore:MixedLoader. skipped")
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("broken", [(0,), (18,), (19,), (3, 4, 17, 18, 19)], ids=str)
@pytest.mark.parametrize(
    ("mode", "kind", "buffer"),
    [("drop", Survives, 0), ("stop_all", ReturnsItself, 0), ("restart", Survives, 0), ("restart", ReturnsItself, 5)],
)
def test_those_that_cannot_be_read_are_left_out_wherever_they_are(mode, kind, buffer, broken, num_workers):
    both = {"a": kind(0, 20, broken), "b": Numbers(1, 20 - len(broken))}
    stream = MixedStream(both, FixedMix([0.5, 0.5]), batch_size=2, on_exhausted=mode, shuffle_buffer=buffer)
    loader = MixedLoader(stream, num_workers=num_workers, on_error="skip")
    for _ in range(2):  # epochs, or passes
        times = Counter(chain(*(batch.tolist() for batch in islice(loader, 20 - len(broken)))))
        assert set(times.values()) == {1}
        assert set(range(20)) - set(times) == set(broken)
        assert len(times) == 2 * (20 - len(broken))
    loader.close()


@pytest.mark.filterwarnings("ignore:MixedLoader. skipped")
def test_a_source_of_which_none_can_be_read_is_empty():
    stream = MixedStream([Survives(0, 9, range(9)), Numbers(1, 9)], FixedMix("uniform"), batch_size=2)
    with pytest.raises(ValueError, match="sources: 0 is empty"):
        next(iter(MixedLoader(stream, on_error="skip")))


class Generator(Survives):
    def __iter__(self):
        yield from super().__iter__()


class AsksForMore(Survives):
    """A generator that asks an iterator for more than it has, which Python makes a RuntimeError."""

    def __iter__(self):
        for sample in range(self.size):
            yield next(iter(())) if sample in self.broken else sample


@pytest.mark.filterwarnings("ignore:MixedLoader. skipped")
@pytest.mark.parametrize("buffer", [0, 5])
@pytest.mark.parametrize("broken", [(19,), (7,)], ids=str)
@pytest.mark.parametrize(("kind", "error"), [(Generator, "OSError: corrupt"), (AsksForMore, "RuntimeError: generator")])
@pytest.mark.parametrize("mode", ["drop", "restart"])
def test_a_generator_that_ends_with_its_error_is_not_taken_for_one_without_more_samples(
    mode, kind, error, broken, buffer
):
    both = {"a": kind(0, 20, broken), "b": Numbers(1, 20)}
    stream = MixedStream(both, FixedMix([0.5, 0.5]), batch_size=2, on_exhausted=mode, shuffle_buffer=buffer)
    with pytest.raises(RuntimeError, match=f"sources: 'a' failed at its sample .*: {error}.*in decode_fn"):
        list(islice(MixedLoader(stream, on_error="skip"), 60))


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"decode_fn": lambda sample: sample}, "decode_fn:"),
        ({"collate_fn": lambda samples: samples}, "collate_fn:"),
        ({"sources": [map(int, "12"), (n for n in range(2))]}, "sources: 1"),
    ],
    ids=["decode_fn", "collate_fn", "sources"],
)
def test_what_cannot_be_sent_to_a_worker_that_is_not_forked_is_named(settings, name, num_workers):
    stream = MixedStream(**{"sources": [range(9), range(9)], "mixer": FixedMix(), "batch_size": 2} | settings)
    loader = MixedLoader(stream, num_workers=num_workers, multiprocessing_context="spawn")
    with pytest.raises(TypeError, match=f'^{name} cannot be sent to a worker: .*multiprocessing_context="fork"'):
        next(iter(loader))


@pytest.mark.filterwarnings("ignore:MixedStream. .* never observed")
@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("sizes", [(10_000, 5_000), (11, 7)], ids=str)
def test_many_batches_that_were_not_observed_come_again(sizes, num_workers):
    loader = load(MixedStream(sources(*sizes), FixedMix("uniform"), batch_size=4), num_workers)
    batches = iter(loader)
    next(batches)
    loader.observe(None)
    let_go = [batch.tolist() for batch in islice(batches, 40)]
    assert [batch.tolist() for batch in islice(loader, 40)] == let_go


def backwards(samples):
    samples.reverse()
    return default_collate(samples)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_losses_find_their_source_where_collate_fn_sorts_the_samples_in_place(num_workers):
    stream = MixedStream([range(8), range(100, 108)], Learn2Mix(1.0), batch_size=8, collate_fn=backwards)
    loader = MixedLoader(stream, num_workers=num_workers)
    for batch in islice(loader, 1):
        assert (batch >= 100).tolist() == [True] * 4 + [False] * 4
        loader.observe(1.0 + 2 * (batch >= 100))
    assert loader.mixer.proportions.tolist() == [0.25, 0.75]
