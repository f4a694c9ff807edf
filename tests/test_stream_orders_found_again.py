"""The order of a source has to be found again by every worker and by a resumed run: it is, or somebody says so."""

import csv
import io
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
import pytest
from torch.utils.data import get_worker_info

from helpers import through_a_file
from learn2mix import FixedMix, MixedLoader, MixedStream
from streams import GROUP, MORE_WORKERS_THAN_CORES, Numbers

pytestmark = pytest.mark.filterwarnings(MORE_WORKERS_THAN_CORES)


class Buffered(Numbers):
    """Shuffles in a buffer while it is read, by the global generator of Python."""

    def __iter__(self):
        buffer = []
        for number in super().__iter__():
            buffer.append(number)
            if len(buffer) > 8:
                yield buffer.pop(random.randrange(len(buffer)))
        random.shuffle(buffer)
        yield from buffer


class AsksForWorker(Numbers):
    def __iter__(self):
        worker = get_worker_info()
        part = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return islice(super().__iter__(), part[0], None, part[1])


class BufferedPart(Buffered, AsksForWorker):
    """The same with its part of the samples, as it asks for the worker."""


class Unseeded(AsksForWorker):
    """Shuffles its part by a generator that nobody can seed, as webdataset's pipelines do."""

    def __iter__(self):
        part = list(super().__iter__())
        random.SystemRandom().shuffle(part)
        return iter(part)


class ReturnsItself(Numbers):
    """Begins anew and returns itself, as litData's does; the first part is the smaller one."""

    def __iter__(self):
        worker, numbers = get_worker_info(), [*super().__iter__()]
        cuts = [0, 9, *range(20, 20 * worker.num_workers - 20, 20), self.size] if worker else [0, self.size]
        at = worker.id if worker else 0
        self.rest = iter(numbers[cuts[at] : cuts[at + 1]])
        return self

    def __next__(self):
        return next(self.rest)


class LaterOnly(Numbers):
    """Begins alike in every worker, and goes on in the order in which its threads happen to be done."""

    def __iter__(self):
        first, *others = super().__iter__()
        random.SystemRandom().shuffle(others)
        return iter([first, *others])


class OwnGenerator(Numbers):
    """Shuffles each pass anew, so that the order depends on the passes that this copy of it has begun."""

    def __init__(self, group, size):
        super().__init__(group, size)
        self.generator = np.random.default_rng(0)

    def __iter__(self):
        return iter(self.generator.permutation([*super().__iter__()]).tolist())


def load(kind, num_workers, size=60, mode="restart", batch_size=10, **settings):
    both = {"web": kind(0, size), "books": kind(1, size)}
    stream = MixedStream(both, FixedMix("uniform"), batch_size=batch_size, on_exhausted=mode)
    return MixedLoader(stream, num_workers=num_workers, **settings)


def batches(loader, count):
    found = []
    while len(found) < count:
        found += [batch.tolist() for batch in islice(loader, count - len(found))]
    loader.close()
    return found


def stopped_and_resumed(kind, workers_before, workers_after, stop, count, mode="restart"):
    """The batches of a run that was stopped and went on, in a process that has drawn other numbers."""
    stopped = load(kind, workers_before, mode=mode)
    before = batches(stopped, stop)
    resumed = load(kind, workers_after, mode=mode)
    resumed.load_state_dict(through_a_file(stopped.state_dict()))
    random.seed(99)
    return before + batches(resumed, count - stop)


def times_of(found):
    return Counter(number for batch in found for number in batch)


@pytest.mark.parametrize("kind", [Buffered, BufferedPart])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 2), (2, 2), (3, 2)])
def test_a_source_that_draws_from_a_global_generator_is_resumed_in_its_order(kind, before, after):
    found = stopped_and_resumed(kind, before, after, 7, 12)
    assert found[:10] == batches(load(kind, before), 10)
    assert set(times_of(found).values()) == {1}, "one pass"
    assert len(times_of(found)) == 120


class DrawsLate(Numbers):
    """Gives some samples before it shuffles the others by a global generator."""

    def __iter__(self):
        first, rest = list(super().__iter__())[:5], list(super().__iter__())[5:]
        yield from first
        yield from random.sample(rest, len(rest))


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (3, 2), (0, 3)])
def test_one_that_draws_late_in_each_pass_is_resumed_in_its_order_in_a_later_pass(before, after):
    found = stopped_and_resumed(DrawsLate, before, after, 31, 48)
    assert found == batches(load(DrawsLate, before), 48)
    assert set(times_of(found).values()) == {4}


@pytest.mark.parametrize("mode", ["restart", "drop"])
@pytest.mark.parametrize("size", [60, 900])
def test_an_order_that_differs_only_after_the_first_sample_is_refused(mode, size):
    with pytest.raises(RuntimeError, match=r"sources: '(web|books)' has another sample \d+ in each worker.*threads"):
        batches(load(LaterOnly, 3, size=size, mode=mode), size // 5)


def test_a_small_source_that_shuffles_each_pass_by_a_generator_of_its_own_is_refused_where_workers_leave_passes_out():
    with pytest.raises(RuntimeError, match=r"another sample \d+ in each worker.*shuffle by shuffle_buffer="):
        batches(load(OwnGenerator, 3, size=7, batch_size=20), 21)
    assert set(times_of(batches(load(OwnGenerator, 1, size=7, batch_size=20), 21)).values()) == {30}


@pytest.mark.parametrize(("kind", "mode", "stop"), [(OwnGenerator, "stop_first", 18), (Unseeded, "restart", 7)])
@pytest.mark.parametrize("workers", [(0, 0), (2, 2)])
def test_a_run_that_is_resumed_in_another_order_is_warned_of(kind, mode, stop, workers):
    with pytest.warns(UserWarning, match=r"'(web|books)' has another sample \d+ than when .* read before.*twice"):
        stopped_and_resumed(kind, *workers, stop, stop + 5, mode)


def test_a_part_that_several_workers_of_a_resumed_run_read_has_to_be_in_the_same_order():
    with pytest.raises(RuntimeError, match="in each worker"), pytest.warns(UserWarning, match="read before"):
        stopped_and_resumed(Unseeded, 3, 2, 7, 60)


class FailsForSome(Numbers):
    """A sample cannot be read in one of the workers; the iterator goes on after it."""

    def __iter__(self):
        numbers, worst = super().__iter__(), random.SystemRandom().random() < 0.5

        class Rows:
            def __iter__(self):
                return self

            def __next__(self):
                number = next(numbers)
                if number % GROUP == 5 and worst:
                    raise OSError("no connection")
                return number

        return Rows()


@pytest.mark.filterwarnings("ignore:MixedLoader. skipped")
def test_a_sample_that_one_worker_cannot_read_ends_no_run_that_leaves_such_samples_out():
    assert len(batches(load(FailsForSome, 3, on_error="skip"), 40)) == 40


@pytest.mark.parametrize(("before", "after"), [(2, 2), (2, 0), (2, 3), (3, 1)])
def test_a_worker_that_reads_several_parts_of_a_source_that_returns_itself_reads_them_apart(before, after):
    found = stopped_and_resumed(ReturnsItself, before, after, 6, 36)
    assert sorted(times_of(found).elements()) == sorted([*range(60), *range(GROUP, GROUP + 60)] * 3)


def numbers_of(file):
    return (int(line) for line in file)


READ = {
    "the file": lambda file: file,
    "map": lambda file: map(int, file),
    "a generator": numbers_of,
    "csv": csv.reader,
    "zip": lambda file: map(min, zip(file, file, strict=True)),
}


@pytest.mark.parametrize("kind", READ)
def test_an_open_file_cannot_be_read_by_several_workers(kind, tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("".join(f"{number}\n" for number in range(60)))

    def begin(file, num_workers):
        both = {"web": READ[kind](file), "b": range(60)}
        stream = MixedStream(both, FixedMix("uniform"), batch_size=4, collate_fn=list)
        loader = MixedLoader(stream, num_workers=num_workers, multiprocessing_context="fork")
        batch = next(iter(loader))
        loader.close()
        return len(batch)

    with path.open() as file:
        with pytest.raises(ValueError, match="sources: 'web' is an iterator over a file that is open already"):
            begin(file, 2)
        assert begin(file, 1) == 4
    assert begin(io.StringIO(path.read_text()), 2) == 4


class Waits(Numbers):
    """Its first sample comes once another thread reads too."""

    begun, may_go_on = threading.Event(), threading.Event()

    def __iter__(self):
        self.begun.set()
        assert self.may_go_on.wait(60)
        yield from super().__iter__()


def test_sources_that_two_threads_read_at_the_same_time_are_warned_of():
    """As with two trials of a search in one process, or a validation stream beside a thread that fetches ahead."""
    Waits.begun.clear()
    Waits.may_go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batches, load(Waits, 0), 1)
        assert Waits.begun.wait(60)
        try:
            with pytest.warns(UserWarning, match=r"two threads .* global random generators .*num_workers=1"):
                batches(load(Numbers, 0), 1)
        finally:
            Waits.may_go_on.set()
        first.result()
    batches(load(Numbers, 0), 1)  # no warning where one reads after the other
