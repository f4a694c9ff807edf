"""Answers requests for batches of a stream: in the process that trains, or in a worker."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch.utils.data import default_collate

from learn2mix.streams.passes import ReadError, SampleError, StuckError
from learn2mix.streams.shards import WHOLE, Segment
from learn2mix.streams.source_reader import Settings, SourceReader
from learn2mix.streams.sources import Source, UnusableError, reads_open_file
from learn2mix.workers.answers import Answer, Unreadable, collated
from learn2mix.workers.copies import copy_of

OPENS = "an object that can be pickled, such as one whose __iter__ opens the data"
DEFINED = "a function that is defined at the top of a module, as no lambda is"
MOST_FAILURES = 1000  # of a source in a row


class News(NamedTuple):
    """What a reader learnt of a source, or of a shard of it."""

    kind: str  # how the source is split
    length: int | None
    marks: list[tuple[int, int]]  # numbers and digests of some samples
    first: int | None  # digest of the first sample, where every process has to see the same
    state: Any  # to go on from; None where the source has none of its own
    known_up_to: int = 0  # samples that it has for certain; it may have more


class Part(NamedTuple):
    """What a batch needs of one source; how the source is split says which of the three descriptions counts."""

    source: int
    start: int  # whole: samples of it in all batches before, over all processes
    num_samples: int  # and in this batch
    places: list[int] | None  # which of those are this process's; None for all
    own_start: int  # own: samples of it that this process had before
    segments: list[Segment] | None  # shards: where those in this batch are, over all processes
    look_ahead: int  # say whether the source ends before it has given this many; 0 where it does not matter


class Request(NamedTuple):
    """A batch of a stream: the same whoever answers, and whenever."""

    number: int
    generation: int  # as in the answer
    epoch: int  # in each of which the sources are read from their beginning; 0 where they go on
    parts: list[Part]
    order: list[int] | None  # of the samples, which come source after source; None leaves them so
    settings: Settings


class StreamReader:
    """Reads the sources of a stream; goes to the workers. Set ``skip`` to leave out samples that cannot be used."""

    def __init__(
        self, sources: Sequence[Source], collate: Callable[[list[Any]], Any], decode: Callable[[Any], Any] | None
    ) -> None:
        self.sources, self.collate, self.decode, self.skip = sources, collate, decode, False
        self._epoch = 0
        self._generation = -1
        self._open: dict[int, SourceReader] = {}
        self._told: dict[tuple[int, int], Any] = {}  # lengths and marks told to this generation

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}, "_told": {}}  # iterators stay where they are

    def check_workers(self, num_workers: int, *, forked: bool) -> None:
        """Raise an error that names a source or a function which so many workers cannot have."""
        if num_workers and not forked:
            self._check_pickling()
            return
        for source in self.sources:
            if num_workers > 1 and reads_open_file(source.samples):
                raise ValueError(
                    f"sources: {source.name!r} is an iterator over a file that is open already, so each worker would "
                    "get only what the others leave of it; give an object whose __iter__ opens the file, or use "
                    "num_workers=1"
                )

    def _check_pickling(self) -> None:
        sent = [(f"sources: {source.name!r}", source.samples, OPENS) for source in self.sources]
        sent += [("collate_fn:", self.collate, DEFINED), ("decode_fn:", self.decode, DEFINED)]
        for name, value, way_out in sent:
            try:
                pickle.dumps(value)
            except Exception as error:
                raise TypeError(
                    f'{name} cannot be sent to a worker: {error}; give {way_out}, or use multiprocessing_context="fork"'
                ) from error

    def begin_anew(self) -> None:
        """Read every source from its beginning."""
        for reader in self._open.values():
            reader.close()
        self._open, self._told = {}, {}

    def __getitem__(self, request: Request) -> Answer:
        """Return the batch that is asked for."""
        if request.epoch != self._epoch:
            self.begin_anew()
        if request.generation != self._generation:
            self._told = {}
        self._epoch, self._generation = request.epoch, request.generation
        news: dict[tuple[int, int], News] = {}
        skipped: list[str] = []
        samples: list[Any] = []
        for part in request.parts:
            samples += self._read(part, request, news, skipped)
        if request.order is not None:
            samples = [samples[place] for place in request.order]
        batch, kept, left_out = collated(samples, partial(self._name, request), self.collate, skip=self.skip)
        return Answer(request.number, request.generation, batch, kept, skipped + left_out, news)

    def _name(self, request: Request, place: int) -> str:
        """Say where the sample at a place of a batch is from."""
        place = place if request.order is None else request.order[place]
        for part in request.parts:
            places = range(part.num_samples) if part.places is None else part.places
            if place < len(places):
                return f"sample {part.start + places[place]} of {self.sources[part.source].name!r}"
            place -= len(places)
        raise IndexError(place)

    def _reader(self, number: int, request: Request) -> SourceReader:
        if number not in self._open:
            states = {shard: state for source, shard, state in request.settings.resume if source == number}
            self._open[number] = SourceReader(self.sources[number], request.settings, request.epoch, states)
        return self._open[number]

    def _read(self, part: Part, request: Request, news: dict[Any, News], skipped: list[str]) -> list[Any]:
        source, samples, state = self.sources[part.source], [], None
        try:
            reader = self._reader(part.source, request)
            for shard, first, count, places in _wanted(part, reader.kind):
                passes = reader.passes(shard)
                if self.skip or self.decode is not None:
                    mine = range(count) if places is None else places
                    samples += [self._sample(source, passes, first + place, skipped) for place in mine]
                else:
                    samples += self._to_collate(passes, passes.get(first, count, places))
                key, state, marks = (part.source, shard), passes.snapshot(), passes.marks
                # A reader that went further before tells of the end of a shard no sooner than a new one would.
                length = passes.length if shard == WHOLE or first + count > (passes.length or 0) else None
                told = self._told.get(key, (-1, None))
                if state is not None or told[0] != length or told[1] is not marks:
                    self._told[key] = length, marks
                    news[key] = News(reader.kind, length, marks, reader.firsts.get(shard), state)
            if part.look_ahead:
                passes, failed = reader.passes(WHOLE), list[str]()
                passes.look_ahead(part.look_ahead, failed if self.skip else None)
                skipped += [f"{source.name!r} {each}" for each in failed]
                begins, marks = reader.firsts.get(WHOLE), passes.marks
                news[part.source, WHOLE] = News(reader.kind, passes.length, marks, begins, state, part.look_ahead)
        except UnusableError as error:
            raise ValueError(f"sources: {source.name!r} {error}") from None
        except ReadError as error:
            raise RuntimeError(f"sources: {source.name!r} {error}") from error.__cause__
        except Exception as error:
            raise RuntimeError(f"sources: {source.name!r} failed: {type(error).__name__}: {error}") from error
        return samples

    def _sample(self, source: Source, passes: Any, number: int, skipped: list[str]) -> Any:
        """Read and decode one sample; ``Unreadable`` where it cannot be used and may be left out."""
        for _ in range(MOST_FAILURES):
            try:
                (sample,) = self._to_collate(passes, passes.get(number, 1))
                return sample if self.decode is None else _decoded(self.decode, sample, number)
            except ReadError as error:
                if not self.skip or isinstance(error, StuckError):
                    raise
                why = f"{source.name!r} {error}"
                if isinstance(error, SampleError):
                    return Unreadable(why)
                skipped.append(why)
        raise StuckError(f"failed {MOST_FAILURES} times in a row")

    def _to_collate(self, passes: Any, samples: list[Any]) -> list[Any]:
        """Return samples that the user's functions may write to; those that are kept stay as they are."""
        writes = self.decode is not None or self.collate is not default_collate
        return [copy_of(sample) for sample in samples] if writes and passes.keeps else samples


def _decoded(decode: Callable[[Any], Any], sample: Any, number: int) -> Any:
    try:
        return decode(sample)
    except Exception as error:
        raise SampleError(f"sample {number}: decode_fn failed: {type(error).__name__}: {error}") from error


def _wanted(part: Part, kind: str) -> list[tuple[int, int, int, list[int] | None]]:
    """Return what to read: shard, number of the first sample, how many, and the places among them; None for all."""
    if kind == "whole":
        return [(WHOLE, part.start, part.num_samples, part.places)] if part.num_samples else []
    if kind == "own":
        count = part.num_samples if part.places is None else len(part.places)
        return [(WHOLE, part.own_start, count, None)] if count else []
    wanted, before = [], 0
    for shard, start, count in part.segments or ():
        places = part.places
        if places is not None:
            places = [place - before for place in places if before <= place < before + count]
        wanted.append((shard, start, count, places))
        before += count
    return wanted
