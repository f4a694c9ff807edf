"""The data of a stream: named iterables, each read shard by shard and pass after pass."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data._utils import worker

from learn2mix.partition import plain_names

if TYPE_CHECKING:
    from learn2mix.checks import Vector

__all__ = ["Reader", "Source", "name_sources", "prior_of"]


class Source:
    """A group of a stream: an iterable, of which each worker of each process reads its own shard.

    Args:
        name: of the group.
        samples: an iterable that gives the same samples in each pass; or map-style data, read in order.

    Raises:
        TypeError: if ``samples`` is neither.

    Example:
        >>> list(Source("digits", range(7)).read(shard=1, num_shards=3))
        [1, 4]
    """

    def __init__(self, name: int | str, samples: Any) -> None:
        self.map_style = not hasattr(samples, "__iter__") and hasattr(samples, "__getitem__")
        if not hasattr(samples, "__len__" if self.map_style else "__iter__"):
            raise TypeError(f"sources: {name!r} must be iterable, got {type(samples).__name__}")
        self.name, self._samples = name, samples
        self._begun = False

    @property
    def size(self) -> int | None:
        """Its number of samples; None where it does not say."""
        try:
            return len(self._samples)
        except (TypeError, NotImplementedError):
            return None

    def read(self, shard: int, num_shards: int) -> Iterator[Any]:
        """One pass over a shard.

        A source with a method ``shard(num_shards=, index=)`` (Hugging Face's have it) splits itself, unless it says by
        ``num_shards`` (or ``n_shards``) that it has fewer. Of map-style data only the shard is read. Of any other
        iterable all is read, and one sample of ``num_shards`` kept.

        Args:
            shard: which one, from 0.
            num_shards: how many there are.

        Raises:
            RuntimeError: if the source fails; names it, and the sample that it failed at, counted from 0.
            ValueError: if the source has no samples or none for this shard, or is an iterator that was begun before.
        """
        number, given = -1, 0  # samples behind, and given
        try:
            samples, stride = self._open(shard, num_shards)
            for number, sample in enumerate(samples):
                if number % stride == shard % stride:
                    given += 1
                    yield sample
        except _BegunError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            raise RuntimeError(f"sources: {self.name!r} failed at its sample {number + 1}: {said}") from error
        if not given:
            raise ValueError(f"sources: {self.name!r} {_nothing(number + 1, shard, num_shards)}")

    def _open(self, shard: int, num_shards: int) -> tuple[Iterable[Any], int]:
        """Return samples, and of how many to keep one."""
        if num_shards > 1 and self._splits_into(num_shards):
            return self._samples.shard(num_shards=num_shards, index=shard), 1
        if self.map_style:
            return (self._samples[index] for index in range(shard, len(self._samples), num_shards)), 1
        samples = iter(self._samples)
        if samples is self._samples and self._begun:
            raise _BegunError(
                f"sources: {self.name!r} is a one-shot iterator (such as a generator) and cannot be read from its "
                "beginning again; give an object that can be iterated anew, such as one with an __iter__ method, or "
                'pass on_exhausted="stop_first" and iterate once'
            )
        self._begun = True
        return samples, num_shards

    def _splits_into(self, num_shards: int) -> bool:
        if not hasattr(self._samples, "shard"):
            return False
        most = getattr(self._samples, "num_shards", getattr(self._samples, "n_shards", None))
        return most is None or most >= num_shards


class _BegunError(Exception):
    """An iterator was asked for a second pass."""


class Reader:
    """Draws from a shard of a source, pass after pass, each as it comes or shuffled in a buffer of its own.

    While it is read, the source does not see that it is in a worker (``torch.utils.data.get_worker_info()`` is None):
    one that splits itself by worker would split its shard once more.

    Args:
        source: what to read.
        shard: which shard of it.
        num_shards: of how many.
        seed: of the shuffling; each pass is shuffled anew.
        buffer: samples to draw from at random, 0 or 1 for the order of the source.
        restart: whether to go on with a new pass after the end of one.

    Attributes:
        draws: samples drawn so far, over all passes.
        length: samples in a pass of this shard, 0 while that is unknown.

    Example:
        >>> reader = Reader(Source("digits", range(3)), shard=0, num_shards=1)
        >>> reader.draw(5), reader.length
        ([0, 1, 2, 0, 1], 3)
    """

    def __init__(
        self, source: Source, shard: int, num_shards: int, *, seed: str = "", buffer: int = 0, restart: bool = True
    ) -> None:
        self._source, self._shard, self._num_shards = source, shard, num_shards
        self._seed, self._buffer, self._restart = seed, buffer, restart
        self.draws = self.length = 0
        self._passes = 0  # ended
        self._start = 0  # draws before this pass
        self._pass: Iterator[Any] | None = None
        self._next: list[Any] = []  # at most one sample, read to see whether the pass has ended

    def __str__(self) -> str:
        where = "" if self._num_shards == 1 else f" (shard {self._shard} of {self._num_shards})"
        return f"{self.name!r}{where}"

    @property
    def name(self) -> Any:
        """Of the source."""
        return self._source.name

    def draw(self, count: int) -> list[Any]:
        """Return the next samples: ``count``, or what is left of the pass where it does not restart.

        Raises:
            RuntimeError, ValueError: as :meth:`Source.read` does.
        """
        samples = self._take(count)
        while len(samples) < count and self._restart:
            self._end_pass()
            samples += self._take(count - len(samples))
        return samples

    @property
    def ended(self) -> bool:
        """Whether all samples of the source were drawn at least once; reads one sample ahead to know."""
        if not self._passes and not self._next:
            self._next = self._read(1)
        return bool(self._passes) or not self._next

    def skip(self, draws: int, length: int) -> None:
        """Go to where ``draws`` samples were drawn, by reading again what lies before them in their pass.

        Args:
            draws: samples to leave out, over all passes.
            length: samples in a pass; 0 reads the first pass to find out.
        """
        if length:
            self._passes, self.length = draws // length, length
        self.draws = self._start = self._passes * length
        while self.draws < draws:
            with _outside_workers():
                self.draws += sum(1 for _ in islice(self._opened(), draws - self.draws))
            if self.draws < draws:
                self._end_pass()
                more = (draws - self.draws) // self.length
                self._passes, self.draws = self._passes + more, self.draws + more * self.length
                self._start = self.draws

    def _take(self, count: int) -> list[Any]:
        samples = self._next[:count]
        self._next = self._next[count:]
        samples += self._read(count - len(samples))
        self.draws += len(samples)
        return samples

    def _read(self, count: int) -> list[Any]:
        with _outside_workers():
            return list(islice(self._opened(), count))

    def _end_pass(self) -> None:
        self.length, self._start = self.draws - self._start, self.draws
        self._passes += 1
        self._pass = None

    def _opened(self) -> Iterator[Any]:
        if self._pass is None:
            self._pass = self._source.read(self._shard, self._num_shards)
            if self._buffer > 1:
                generator = random.Random(f"{self._seed} {self.name} {self._shard} {self._passes}")
                self._pass = _shuffled(self._pass, self._buffer, generator)
        return self._pass


@contextmanager
def _outside_workers() -> Iterator[None]:
    """Let ``get_worker_info()`` return None, as in the process that trains."""
    info, worker._worker_info = worker._worker_info, None
    try:
        yield
    finally:
        worker._worker_info = info


def _shuffled(samples: Iterator[Any], size: int, generator: random.Random) -> Iterator[Any]:
    """Give the samples in the order in which they leave a buffer of ``size``, at random."""
    buffer = list(islice(samples, size))
    for sample in samples:
        place = int(generator.random() * size)
        buffer[place], sample = sample, buffer[place]
        yield sample
    generator.shuffle(buffer)
    yield from buffer


def name_sources(sources: Mapping[Any, Any] | Sequence[Any]) -> list[Source]:
    """Return the sources under their names: the keys of a mapping, else their numbers.

    Raises:
        ValueError: if there are fewer than two, or one says that it has no samples.
        TypeError: if ``sources`` is neither a mapping nor a sequence, one of them is not iterable, or a name is
            neither an integer, a string nor a tuple of them.
    """
    if not isinstance(sources, (Mapping, Sequence)) or isinstance(sources, str):
        raise TypeError(f"sources must be a mapping or a sequence of iterables, got {type(sources).__name__}")
    named = sources if isinstance(sources, Mapping) else dict(enumerate(sources))
    if len(named) < 2:
        raise ValueError(f"sources must be at least 2 to be mixed, got {len(named)}")
    names = plain_names(named, "names of sources")
    found = [Source(name, samples) for name, samples in zip(names, named.values(), strict=True)]
    for source in found:
        if source.size == 0:
            raise ValueError(f"sources: {source.name!r} is empty")
    return found


def prior_of(sources: Sequence[Source]) -> Vector:
    """Return the data's own proportions, shape ``(num_groups,)``: by size, or uniform where a size is unknown."""
    sizes = [source.size or 0 for source in sources]
    if 0 in sizes:
        return np.full(len(sizes), 1 / len(sizes))
    mix: Vector = np.array(sizes, dtype=np.float64) / sum(sizes)
    return mix


def _nothing(num_samples: int, shard: int, num_shards: int) -> str:
    if num_shards == 1 or not num_samples:
        return "is empty" if num_shards == 1 else f"has no samples for shard {shard} of {num_shards}"
    return (
        f"has {num_samples} samples, fewer than its {num_shards} shards (processes times workers); "
        "use fewer workers or leave it out"
    )
