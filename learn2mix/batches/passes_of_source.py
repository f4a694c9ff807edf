"""The samples of a source, or of a shard of it, pass after pass, by number."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch.utils.data._utils import worker

from learn2mix.batches.sources import Seen

SKIPPED_AT_ONCE = 256  # samples that nobody asked for
FIRST_FILL = 32  # samples in a shuffle buffer before the first leaves it; then it grows by one with each


class ReadError(Exception):
    """A source failed; its next sample may be read all the same.

    ``number`` is that of a sample that is there and cannot be used; None where the next sample gets the number.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.number = number


class StuckError(ReadError):
    """A source failed and cannot go on."""


@dataclass(eq=False)
class SourcePasses:
    """Samples by number: sample ``n`` of endless passes over an iterable.

    Reads forward. It keeps the last samples, so that batches that are taken back cost no reading, and reads ahead where
    it has to see whether the end is near.

    Example:
        >>> passes = SourcePasses(lambda number: iter("abc"), keep=2)
        >>> passes.get(1, 3), passes.length
        (['b', 'c', 'a'], 3)
    """

    open_pass: Callable[[int], Iterator[Any]]  # begins a pass, given how many were before it
    keep: int  # samples to keep behind the newest one asked for
    restart: bool = True  # whether passes follow each other
    seen: Seen | None = None  # what the process is seen as while the source is read; None as one without workers
    save: Callable[[], Any] | None = None  # returns the source's own state; None where it has none
    length: int | None = None  # samples in a pass, once that is known
    told: tuple[int, int | None] = (-1, -1)  # when a reader reported the length last, and which

    def __post_init__(self) -> None:
        self._failed_at = -1  # number of the sample at which the source failed last, if it gave none since
        self._ahead: ReadError | None = None  # a failure found by reading ahead, to be raised in its turn
        self._begin(0, 0)

    def _begin(self, number: int, start: int, samples: Iterator[Any] | None = None) -> None:
        """Go to sample ``number``, in the pass that began with sample ``start``."""
        self._next, self._start, self._pass, self._reread = number, start, samples, False
        self._chunks: deque[tuple[int, list[Any]]] = deque()  # what was read last, with the numbers of the first

    def resume(self, number: int, start: int, length: int | None, samples: Iterator[Any]) -> None:
        """Go on with a pass that was opened in its middle, at sample ``number``."""
        self.length = length
        self._begin(number, start, samples)

    def get(self, first: int, count: int, places: Any = None) -> list[Any]:
        """Return samples ``first`` to ``first + count``, or those at some places among them."""
        if first < self._next:
            samples = self._again(first, count)
        else:
            if first > self._next:
                self._skip_to(first)
            samples = self._read_to(first + count)
        if self._next - self._chunks[0][0] > 2 * self.keep + count:
            self._forget(first - self.keep)
        return samples if places is None else [samples[place] for place in places]

    def look_ahead(self, number: int) -> None:
        """Read up to sample ``number``, or up to the end of the first pass, which tells its length."""
        while self.length is None and self._ahead is None and self._next < number:
            try:
                self._read(number - self._next)
            except ReadError as error:
                self._ahead = error

    def snapshot(self) -> dict[str, Any] | None:
        """Return where it is, with the source's own state; None where it has none."""
        if self.save is None or self._pass is None:
            return None
        return {"number": self._next, "start": self._start, "length": self.length, "state": self.save()}

    def _again(self, first: int, count: int) -> list[Any]:
        """Return samples that were read before, and read on if the last of them were not."""
        if not self._chunks or first < self._chunks[0][0]:
            start = first - first % self.length if self.length else 0
            self._begin(start, start)
            return self.get(first, count)
        self._read_to(first + count)
        samples: list[Any] = []
        for number, chunk in self._chunks:
            samples += chunk[max(first - number, 0) : max(first + count - number, 0)]
        return samples

    def _skip_to(self, number: int) -> None:
        """Go to a sample; of passes that lie between, none is read once their length is known."""
        while self._next < number:
            if self.length and self.restart and number - self._start >= 2 * self.length:
                self._begin(number - number % self.length, number - number % self.length)
            else:
                self._read(min(number - self._next, SKIPPED_AT_ONCE))
                self._forget(self._next - self.keep)

    def _read_to(self, number: int) -> list[Any]:
        """Read up to a sample, and return what was read."""
        fresh: list[Any] = []
        while self._next < number:
            read = self._read(number - self._next)
            fresh = fresh + read if fresh else read
        return fresh

    def _read(self, count: int) -> list[Any]:
        """Read some samples of the pass: as many as asked for, or up to its end, which is noted."""
        if self._ahead is not None:
            error, self._ahead = self._ahead, None
            raise error
        if self._pass is None:
            if self.length is not None and not self.restart:
                raise StuckError(f"is shorter than its len says: it has {self.length} samples, and more were asked for")
            self._pass = self.open_pass(self._start // self.length if self.length else 0)
        fresh: list[Any] = []
        info, worker._worker_info = worker._worker_info, self.seen  # type: ignore[assignment]  # as seen_as, at no cost
        try:
            fresh.extend(islice(self._pass, count))
        except Exception as error:
            self._note(fresh)
            kind = StuckError if self._reread and self._failed_at == self._next else ReadError
            self._failed_at = self._next
            said = f"failed at its sample {self._next - self._start}: {type(error).__name__}: {error}"
            raise kind(said) from error
        finally:
            worker._worker_info = info
        self._note(fresh)
        if len(fresh) < count:
            self._end_pass()
        return fresh

    def _note(self, fresh: list[Any]) -> None:
        """Take note of samples that were read."""
        if fresh:
            self._chunks.append((self._next, fresh))
            self._next, self._failed_at = self._next + len(fresh), -1

    def _forget(self, number: int) -> None:
        """Drop what was read before a sample."""
        while self._chunks and self._chunks[0][0] + len(self._chunks[0][1]) <= number:
            self._chunks.popleft()

    def _end_pass(self) -> None:
        if self._failed_at == self._next:  # a generator ends when it has failed, which is no end of the data
            self._begin(self._start, self._start)
            self._reread = True
            return
        self.length = self._next - self._start
        if not self.length:
            raise StuckError("is empty")
        self._start, self._pass = self._next, None


class IndexedPasses:
    """The same for map-style data, of which any sample can be read alone.

    ``order`` returns the order of a pass, given how many were before it; None leaves the order of the data.
    """

    told: tuple[int, int | None] = (-1, -1)

    def __init__(self, samples: Any, order: Callable[[int], list[int]] | None = None) -> None:
        self._samples, self._order, self.length = samples, order, len(samples)
        self._shuffled: tuple[int, list[int]] = (-1, [])  # a pass, and its order

    def get(self, first: int, count: int, places: Any = None) -> list[Any]:
        """Return samples ``first`` to ``first + count``, or those at some places among them; reads no others."""
        return [self._get(first + place) for place in (range(count) if places is None else places)]

    def _get(self, number: int) -> Any:
        before, place = divmod(number, self.length)
        if self._order is not None:
            if self._shuffled[0] != before:
                self._shuffled = (before, self._order(before))
            place = self._shuffled[1][place]
        try:
            return self._samples[place]
        except Exception as error:
            raise ReadError(f"failed at its sample {place}: {type(error).__name__}: {error}", number) from error

    def snapshot(self) -> None:
        """Return None: there is nothing to read again."""


class Shuffled:
    """Samples in the order in which they leave a buffer at random; the buffer grows while they leave it.

    An error of ``samples`` passes through, and the next sample may be asked for: so this is no generator.

    Example:
        >>> sorted(Shuffled(iter(range(5)), 3, random.Random(0)))
        [0, 1, 2, 3, 4]
    """

    def __init__(self, samples: Iterator[Any], size: int, generator: random.Random) -> None:
        self._samples, self._size, self._generator = samples, size, generator
        self._buffer: list[Any] = []
        self._wanted = min(size, FIRST_FILL)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        """Return a sample of the buffer, once it holds as many as are wanted by now."""
        while len(self._buffer) <= self._wanted:
            try:
                self._buffer.append(next(self._samples))
            except StopIteration:
                break
        if not self._buffer:
            raise StopIteration
        self._wanted = min(self._wanted + 1, self._size)
        place = int(self._generator.random() * len(self._buffer))
        self._buffer[place], self._buffer[-1] = self._buffer[-1], self._buffer[place]
        return self._buffer.pop()
