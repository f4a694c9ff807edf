"""The samples of a source, or of a shard of it, pass after pass, by number."""

from __future__ import annotations

import inspect
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch.utils.data._utils import worker

from learn2mix.streams.sources import UnusableError, digest
from learn2mix.streams.surroundings import OwnRandomness, Seen
from learn2mix.workers.copies import share_memory

SKIPPED_AT_ONCE = 256  # samples that nobody asked for
WATCHED = 64  # samples of the first pass, in which a source that draws from the global random generators shows it
MOST_MARKS = 16  # that are kept
NEVER = 1 << 62  # in the place of the number of a sample
EMPTY = "is empty, or used up: what it reads (a generator, an open file) has to be made anew in its __iter__"
CANNOT_GO_ON = " (so it did when it was read again; a generator ends with its error: do what may fail in decode_fn)"
FIRST_FILL = 32  # samples in a shuffle buffer before the first leaves it; then it grows by one with each


class ReadError(Exception):
    """A source failed; what it gives next takes the place of the sample that failed."""


class SampleError(ReadError):
    """A sample is there, and cannot be used."""


class StuckError(ReadError):
    """A source failed and cannot go on."""


@dataclass(eq=False)
class SourcePasses:
    """Samples by number: sample ``n`` of endless passes over an iterable.

    It keeps the last samples, so that batches that are taken back cost no reading.

    Example:
        >>> passes = SourcePasses(lambda number: iter("abc"), keep=2)
        >>> passes.get(1, 3), passes.length
        (['b', 'c', 'a'], 3)
    """

    open_pass: Callable[[int], Iterator[Any]]  # begins a pass, given how many were before it
    keep: int  # samples to keep behind the newest one asked for
    restart: bool = True  # whether passes follow each other
    seen: Seen | None = None  # what the process is seen as while the source is read; None as one without workers
    randomness: OwnRandomness = field(default_factory=OwnRandomness)  # that the source is read with
    save: Callable[[], Any] | None = None  # returns the source's own state; None where it has none
    if_empty: str = EMPTY  # what is said then

    keeps = True  # what it gives may be asked for again, and is the same object then

    def __post_init__(self) -> None:
        self.length: int | None = None  # samples in a pass, once that is known
        # Digests of some samples, with their numbers: by them readers find out whether they see the same order.
        self.marks: list[tuple[int, int]] = []
        self._reread_to = -1  # number of the sample at which a failure ended the iterator, so that it was read again
        self._ahead: ReadError | None = None  # a failure found by reading ahead, to be raised in its turn
        self.begin(0, 0)

    def begin(self, number: int, start: int, samples: Iterator[Any] | None = None) -> None:
        """Go to sample ``number`` of the pass that began with sample ``start``; ``samples`` if it was opened there."""
        self._oldest = self._next = number  # numbers of the first sample that is kept, and of the next to read
        self._start, self._pass = start, samples
        self._mark = number if number == start else NEVER  # number of the next sample of which a digest is taken
        self._cut = False  # whether the last failure ended the iterator
        self._kept: list[Any] = []

    def get(self, first: int, count: int, places: Any = None) -> list[Any]:
        """Return samples ``first`` to ``first + count``, or those at some places among them."""
        while first < self._oldest or first + count > self._next:
            if first < self._oldest:
                start = first - first % self.length if self.length else 0
                self.begin(start, start)
            elif first > self._next:
                self._skip_towards(first)
            else:
                self._read(first + count - self._next)
        place = first - self._oldest
        samples = self._kept[place : place + count]
        if len(self._kept) > 2 * self.keep + count:
            self._forget(first - self.keep)
        return samples if places is None else [samples[place] for place in places]

    def look_ahead(self, number: int, skipped: list[str] | None) -> None:
        """Read up to sample ``number``, or up to the end of the first pass, which tells its length.

        Failures on the way are ``skipped``; with None, and where the source is stuck, they are raised in their turn.
        """
        while self.length is None and self._ahead is None and self._next < number:
            try:
                self._read(number - self._next)
            except ReadError as error:
                if skipped is None or isinstance(error, StuckError):
                    self._ahead = error
                else:
                    skipped.append(str(error))

    def snapshot(self) -> dict[str, Any] | None:
        """Return where it is, with the source's own state; None where it has none."""
        if self.save is None or self._pass is None:
            return None
        return {"number": self._next, "start": self._start, "length": self.length, "state": self.save()}

    def _skip_towards(self, number: int) -> None:
        """Go on to a sample; of passes that lie between, none is read once their length is known."""
        if self.length and self.restart and number - self._start >= 2 * self.length:
            self.begin(number - number % self.length, number - number % self.length)
        else:
            self._read(min(number - self._next, SKIPPED_AT_ONCE))
            self._forget(self._next - self.keep)

    def _forget(self, number: int) -> None:
        if number > self._oldest:
            del self._kept[: number - self._oldest]
            self._oldest = number

    def _read(self, count: int) -> None:
        """Read some samples of the pass: as many as asked for, or up to its end, which is noted."""
        if self._ahead is not None:
            error, self._ahead = self._ahead, None
            raise error
        if self._pass is None:
            if self.length is not None and not self.restart:
                raise StuckError(
                    f"has {self.length} samples here, and more in another worker or pass; give it the same"
                )
            self._pass = self.open_pass(self._start // self.length if self.length else 0)
        end = self._next + count
        try:
            # The first sample is looked at before the second is read.
            for part in (1, count - 1) if self._mark == self._next == 0 else (count,):
                self._extend(self._pass, part)
        except BaseException as error:  # also Ctrl-C
            self._cut = ended_a_generator(error)
            if not isinstance(error, Exception) or isinstance(error, UnusableError):
                raise
            self._mark = NEVER  # the samples of other readers, which may not fail there, have other numbers
            kind = StuckError if self._reread_to == self._next else ReadError
            said = f"failed at its sample {self._next - self._start}: {type(error).__name__}: {error}"
            raise kind(said + (CANNOT_GO_ON if kind is StuckError else "")) from error
        if self._next < end and self._cut:  # which is no end of the data
            self._reread_to = self._next
            self.begin(self._start, self._start)
        elif self._next < end:
            self.length = self._next - self._start
            if not self.length:
                raise UnusableError(self.if_empty)
            self._start, self._pass, self._mark = self._next, None, self._next

    def _extend(self, samples: Iterator[Any], count: int) -> None:
        """Keep so many samples more; where reading them fails, those before."""
        info, worker._worker_info = worker._worker_info, self.seen  # type: ignore[assignment]  # as seen_as, at no cost
        may_draw = self.randomness.used or (self._start == 0 and self._next < WATCHED)
        try:
            if may_draw:
                with self.randomness:  # it takes as long as some hundred samples
                    self._kept.extend(islice(samples, count))
            else:
                self._kept.extend(islice(samples, count))
        finally:
            worker._worker_info = info
            number, self._next = self._next, self._oldest + len(self._kept)
            self._cut = self._cut and self._next == number
            while self._mark < self._next:
                self._take_mark()

    def _take_mark(self) -> None:
        """Note a sample; the next one is twice as far from the beginning of the pass."""
        place = self._mark - self._oldest
        if self._oldest == 0 < self._mark and self.marks and self.marks[0][0] == 0:
            self._refuse_one_object(self.marks[0][1])
        self.marks = [*self.marks[1 - MOST_MARKS :], (self._mark, digest(self._kept[place]))]
        self._mark = self._start + max(2 * (self._mark - self._start), WATCHED if self._start else 1)

    def _refuse_one_object(self, first: int) -> None:
        """Raise an error if the first sample, which had this digest, was written to as a later one was read."""
        if digest(self._kept[0]) != first and any(share_memory(self._kept[0], later) for later in self._kept[1:]):
            raise UnusableError(
                "gives the same object for each sample and overwrites it; give a new one each time: row.copy()"
            )


def ended_a_generator(error: BaseException) -> bool:
    """Whether an error came through a generator, which is at its end then; any other iterator can go on.

    Example:
        >>> def numbers():
        ...     yield 1 / 0
        >>> def ended_by(samples):
        ...     try:
        ...         next(samples)
        ...     except ZeroDivisionError as error:
        ...         return ended_a_generator(error)
        >>> ended_by(numbers()), ended_by(map(lambda x: 1 / x, [0, 1]))
        (True, False)
    """
    if isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration):
        error = error.__cause__  # as Python turns one that a generator raises
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_code.co_flags & inspect.CO_GENERATOR for frame in frames)


class IndexedPasses:
    """The same for map-style data, in its order or in that of ``shuffle``, which finds a part of a pass at a time.

    ``shuffle`` gets the passes before and a place in the pass. It returns the place where its part begins, and the
    indices of that part in their order.
    """

    def __init__(self, samples: Any, shuffle: Callable[[int, int], tuple[int, list[int]]] | None = None) -> None:
        self._samples, self._shuffle, self.length = samples, shuffle, len(samples)
        self.marks: list[tuple[int, int]] = []  # nobody reads them in another order
        self.keeps = isinstance(samples, Sequence)  # as those of SourcePasses
        self._part: tuple[int, int, list[int]] = (0, 0, [])  # passes before it, its place in the pass, its indices

    def get(self, first: int, count: int, places: Any = None) -> list[Any]:
        """Return samples as :meth:`SourcePasses.get` does; reads no others."""
        return [self._get(first + place) for place in (range(count) if places is None else places)]

    def _get(self, number: int) -> Any:
        before, index = divmod(number, self.length)
        if self._shuffle is not None:
            there, start, indices = self._part
            if there != before or not start <= index < start + len(indices):
                start, indices = self._shuffle(before, index)
                self._part = before, start, indices
            index = indices[index - start]
        try:
            return self._samples[index]
        except Exception as error:
            raise SampleError(f"failed at its sample {index}: {type(error).__name__}: {error}") from error

    def snapshot(self) -> None:
        """Return None: there is nothing to read again."""


class Shuffled:
    """Samples as they leave a growing buffer at random. No generator: it goes on after an error of ``samples``.

    Example:
        >>> sorted(Shuffled(iter(range(5)), 3, random.Random(0)))
        [0, 1, 2, 3, 4]
    """

    def __init__(self, samples: Iterator[Any], size: int, generator: random.Random) -> None:
        self._samples, self._size, self._generator = samples, size, generator
        self._buffer: list[Any] = []
        self._wanted = min(size, FIRST_FILL)
        self._cut = False  # whether the last sample that was asked for raised an error that ended a generator

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Return a sample of the buffer, once it holds as many as are wanted by now."""
        while len(self._buffer) <= self._wanted:
            try:
                self._buffer.append(next(self._samples))
                self._cut = False
            except StopIteration:
                if self._cut:  # what is in the buffer is not the end of the data
                    raise
                break
            except BaseException as error:
                self._cut = ended_a_generator(error)
                raise
        if not self._buffer:
            raise StopIteration
        self._wanted = min(self._wanted + 1, self._size)
        place = int(self._generator.random() * len(self._buffer))
        self._buffer[place], self._buffer[-1] = self._buffer[-1], self._buffer[place]
        return self._buffer.pop()
