"""Answers requests for batches of a stream: in the process that trains, or in a worker."""

from __future__ import annotations

import pickle
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from learn2mix.batches.answers import Answer, Unreadable, collated
from learn2mix.batches.passes_of_source import ReadError, StuckError
from learn2mix.batches.shards import WHOLE, Segment
from learn2mix.batches.source_reader import SourceReader
from learn2mix.batches.sources import OneShotError, Source

MOST_FAILURES = 1000  # of a source in a row

News = dict[str, dict[Any, Any]]
"""What a reader learnt of the sources: their ``kinds``, ``digests`` and ``known_up_to`` (how many samples a source is
known to have; it may have more) by source, their ``lengths`` and ``states`` by source and shard."""


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
    num_shards: int  # among which the workers of a process share a source
    num_replicas: int
    keep: int  # samples that a reader keeps, to go back to
    resume: dict[tuple[int, int], dict[str, Any]]  # states of sources to go on from, by source and shard


@dataclass(eq=False)
class StreamReader:
    """Reads the sources of a stream; goes to the workers."""

    sources: Sequence[Source]
    collate: Callable[[list[Any]], Any]  # makes a batch of a list of samples
    decode: Callable[[Any], Any] | None  # makes a sample of what a source gives, of this process's samples only
    seed: int  # of the shuffling
    shuffle_buffer: int  # samples of each source from which to draw at random
    restart: bool  # whether passes over a source follow each other within an epoch
    stops: bool  # whether each epoch reads the sources from their beginning
    skip: bool = False  # whether samples that cannot be used are left out

    def __post_init__(self) -> None:
        self._epoch = 0
        self._generation = -1
        self._open: dict[int, SourceReader] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}  # iterators stay where they are

    def check_pickling(self) -> None:
        """Raise a TypeError that names a source which cannot be sent to a worker that is not forked."""
        for source in self.sources:
            try:
                pickle.dumps(source.samples)
            except Exception as error:
                raise TypeError(
                    f"sources: {source.name!r} cannot be sent to a worker: {error}; give an object that can be "
                    'pickled, such as one whose __iter__ opens the data, or use multiprocessing_context="fork"'
                ) from error

    def begin_anew(self) -> None:
        """Read every source from its beginning."""
        self._open = {}

    def __getitem__(self, request: Request) -> Answer:
        """Return the batch that is asked for."""
        if request.epoch != self._epoch:
            self.begin_anew()
        self._epoch, self._generation = request.epoch, request.generation
        news: News = defaultdict(dict)
        skipped: list[str] = []
        samples: list[Any] = []
        for part in request.parts:
            samples += self._read(part, request, news, skipped)
        batch, kept = None, None
        if samples:
            samples = samples if request.order is None else [samples[place] for place in request.order]
            batch, kept, dropped = collated(samples, partial(self._name, request), self.collate, skip=self.skip)
            skipped += dropped
        return Answer(request.number, request.generation, batch, kept, skipped, dict(news) or None)

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
            reader = SourceReader(
                self.sources[number],
                num_shards=request.num_shards,
                num_replicas=request.num_replicas,
                seed=self.seed,
                buffer=self.shuffle_buffer,
                epoch=request.epoch,
                stops=self.stops,
                restart=self.restart,
                keep=request.keep,
            )
            for (source, shard), state in request.resume.items():
                if source == number:
                    reader.resume(shard, state)
            self._open[number] = reader
        return self._open[number]

    def _read(self, part: Part, request: Request, news: News, skipped: list[str]) -> list[Any]:
        source, samples = self.sources[part.source], []
        try:
            reader = self._reader(part.source, request)
            for shard, first, count, places in _wanted(part, reader.kind):
                passes = reader.passes(shard)
                if self.skip or self.decode is not None:
                    mine = range(count) if places is None else places
                    samples += [self._sample(source, passes, first + place, skipped) for place in mine]
                else:
                    samples += passes.get(first, count, places)
                if (state := passes.snapshot()) is not None:
                    news["states"][part.source, shard] = state
                if passes.told != (self._generation, passes.length):
                    self._tell(news, part.source, shard, reader, passes)
            if part.look_ahead:
                passes = reader.passes(WHOLE)
                passes.look_ahead(part.look_ahead)
                news["known_up_to"][part.source] = part.look_ahead
                self._tell(news, part.source, WHOLE, reader, passes)
        except OneShotError:
            raise
        except ReadError as error:
            if isinstance(error.__cause__, OneShotError):
                raise error.__cause__ from None
            if str(error) == "is empty":
                raise ValueError(f"sources: {source.name!r} is empty") from None
            raise RuntimeError(f"sources: {source.name!r} {error}") from error.__cause__
        except Exception as error:
            raise RuntimeError(f"sources: {source.name!r} failed: {type(error).__name__}: {error}") from error
        return samples

    def _tell(self, news: News, source: int, shard: int, reader: SourceReader, passes: Any) -> None:
        """Report what is new since the last answer of this generation."""
        passes.told = self._generation, passes.length
        news["kinds"][source] = reader.kind
        if passes.length is not None:
            news["lengths"][source, shard] = passes.length
        if reader.digest is not None:
            news["digests"][source] = reader.digest

    def _sample(self, source: Source, passes: Any, number: int, skipped: list[str]) -> Any:
        """Read and decode one sample; ``Unreadable`` where it cannot be used and may be left out."""
        for _ in range(MOST_FAILURES):
            try:
                sample = passes.get(number, 1)[0]
                return sample if self.decode is None else _decoded(self.decode, sample, number)
            except StuckError:
                raise
            except ReadError as error:
                if not self.skip:
                    raise
                skipped.append(f"{source.name!r} {error}")
                if error.number is not None:  # this sample is there, and cannot be used
                    return Unreadable
        raise StuckError(f"failed {MOST_FAILURES} times in a row")


def _decoded(decode: Callable[[Any], Any], sample: Any, number: int) -> Any:
    try:
        return decode(sample)
    except Exception as error:
        raise ReadError(f"sample {number}: decode_fn failed: {type(error).__name__}: {error}", number) from error


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
