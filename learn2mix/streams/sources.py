"""The data of a stream: named iterables, and how a pass over one begins."""

from __future__ import annotations

import copy
import gc
import inspect
import io
import pickle
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from learn2mix.labels import is_hugging_face
from learn2mix.partition import plain_names
from learn2mix.streams.surroundings import Seen

ONE_SHOT = ("builtins", "itertools", "_csv", "_io")  # where the iterators that never begin anew are defined
# Steps of Hugging Face's data sets: shuffle begins a new buffer where it resumes; skip and take are another number of
# samples in each part, so that parts that differ in size hold others together than the whole.
LOSES_ITS_BUFFER = {"BufferShuffledExamplesIterable"}
LOSES_NO_SAMPLES = (5, 1)  # the first release whose states are exact: those of 3.3 to 5.0 leave out what is mapped
COUNT_SAMPLES = {"SkipExamplesIterable", "TakeExamplesIterable"}


class UnusableError(Exception):
    """A source cannot be used in a stream. Says why, and what to do instead; the reader adds the name of the source."""


class Source:
    """A group of a stream: an iterable that gives the same samples in each pass, or map-style data, read in order."""

    def __init__(self, name: int | str, samples: Any) -> None:
        _check_samples(name, samples)
        self.name, self.samples = name, samples
        self.random_access = (hasattr(samples, "__getitem__") and hasattr(samples, "__len__")) and (
            isinstance(samples, (Sequence, np.ndarray))
            or hasattr(samples, "__getitems__")
            or not hasattr(samples, "__iter__")
            or (isinstance(samples, Dataset) and not isinstance(samples, IterableDataset))
        )
        self._first: int | None = None  # digest of the first sample, of an iterator that returns itself

    @property
    def size(self) -> int | None:
        """Its number of samples; None where it does not say."""
        try:
            return len(self.samples)
        except (TypeError, NotImplementedError):
            return None

    @cached_property
    def fingerprint(self) -> int:
        """What tells map-style data from others without reading them: their size, and the first sample of a list."""
        listed = isinstance(self.samples, (Sequence, np.ndarray))
        known = [self.size, digest(self.samples[0]) if listed else None] if self.random_access else []
        return zlib.crc32(repr(known).encode())

    def splits_into(self, num_shards: int) -> bool:
        """Whether ``shard`` gives so many shards, which are the whole; Hugging Face's says how many at most."""
        if _has_step(self.samples, COUNT_SAMPLES):
            return False
        most = getattr(self.samples, "num_shards", getattr(self.samples, "n_shards", None))
        return most is None or most >= num_shards

    def open(self, samples: Any, seen: Seen | None = None, before: int = 0) -> Iterator[Any]:
        """Begin a pass over the source itself, or over a shard of it; an UnusableError where it cannot begin again.

        ``seen`` is what it sees of the worker; ``before`` is the number of passes that were read to their end.
        """
        iterator: Iterator[Any] = iter(samples)
        if iterator is not samples:
            return iterator
        # It begins anew, as some do, or it is used up or in the middle. By next alone: iter would make it begin anew.
        opened, first = peek(map(next, repeat(iterator)))
        if isinstance(first, Exception) or (seen is not None and seen.asked):  # no generator asks when it begins
            return opened
        may_begin_anew = type(iterator).__module__ not in ONE_SHOT
        if first and (before or self._first is None or (may_begin_anew and self._first == digest(first[0]))):
            self._first = digest(first[0])
        elif self._first is not None:
            raise UnusableError(
                "is a one-shot iterator (such as a generator) and cannot be read from its beginning again; give an "
                "object that can be iterated anew, such as one with an __iter__ method, or pass "
                'on_exhausted="stop_first" and iterate once'
            )
        return opened


def peek(samples: Iterator[Any]) -> tuple[Iterator[Any], list[Any] | Exception]:
    """Return samples from the first on, and the first in a list, empty at the end; or the error in its place.

    Example:
        >>> samples, first = peek(iter("abc"))
        >>> first, list(samples)
        (['a'], ['a', 'b', 'c'])
    """
    try:
        first = list(islice(samples, 1))
    except Exception as error:
        return chain(_Raising(error), samples), error
    return chain(first, samples), first


class _Raising:
    """Raises an error once, in the place of a sample; no generator, which would have ended with its error."""

    def __init__(self, error: Exception) -> None:
        self._error: Exception | None = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        error, self._error = self._error, None
        raise StopIteration if error is None else error


def _check_samples(name: Any, samples: Any) -> None:
    hint = ""
    if isinstance(samples, (str, bytes)) or hasattr(samples, "__fspath__"):
        hint = "; open it and give an iterable of samples"
    elif isinstance(samples, Mapping) or type(samples).__name__ in ("DataFrame", "DatasetDict", "IterableDatasetDict"):
        hint = "; iterated it gives its keys: give its rows, such as samples.values() or samples.to_dict('records')"
    elif hasattr(samples, "to_pylist") and hasattr(samples, "column_names"):  # pyarrow's
        hint = "; it gives its columns: give its rows, such as samples.to_pylist()"
    elif _gives_batches(samples):
        hint = "; it gives batches, and the stream makes its own: give what they are made of, such as loader.dataset"
    elif isinstance(samples, tuple) and len(samples) == 2 and isinstance(samples[0], str) and _is_iterable(samples[1]):
        hint = "; of pairs of a name and a source make a mapping: dict(sources)"
    elif isinstance(samples, type) or (callable(samples) and not _is_iterable(samples)):
        hint = "; call it, or give an object whose __iter__ calls it"
    if hint or not _is_iterable(samples):
        raise TypeError(f"sources: {name!r} must be an iterable of samples, got {type(samples).__name__}{hint}")


def _is_iterable(samples: Any) -> bool:
    by_index = hasattr(samples, "__getitem__") and hasattr(samples, "__len__")
    return (hasattr(samples, "__iter__") or by_index) and not isinstance(samples, str)


def _gives_batches(samples: Any) -> bool:
    """Whether it is a loader, of torch's or ours, or a stream."""
    mixes = hasattr(samples, "mixer") and hasattr(samples, "observe")
    return mixes or (isinstance(samples, DataLoader) and samples.batch_size is not None)


def digest(sample: Any) -> int:
    """Return a number that tells a sample from others, the same in every process; -1 where it cannot be pickled.

    Example:
        >>> digest(torch.ones(3)) == digest(torch.ones(4)[1:])
        True
        >>> row = [1, 2]
        >>> digest([row, row]) == digest([[1, 2], [1, 2]])
        True
        >>> digest(lambda: 3)
        -1
    """
    pickled = io.BytesIO()
    try:
        pickler = _ByValue(pickled)
        pickler.fast = True  # a part that comes twice is written twice, whether or not it is one object
        pickler.dump(sample)
        return zlib.crc32(pickled.getvalue())
    except Exception:  # whatever a sample's own pickling raises
        return -1


class _ByValue(pickle.Pickler):
    """Writes the values of a tensor: torch's own pickling writes where in memory they are, too."""

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.layout is not torch.strided:
            return NotImplemented
        values = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return tuple, ((str(value.dtype), tuple(value.shape), values),)


def reads_open_file(iterator: Any, depth: int = 8) -> bool:
    """Whether an iterator reads a file that is open already, itself or through others, as map and generators do.

    Example:
        >>> import os
        >>> with open(os.devnull) as file:
        ...     reads_open_file(line.strip() for line in file)
        True
    """
    if isinstance(iterator, io.IOBase):
        try:
            return iterator.readable() and iterator.fileno() >= 0
        except (OSError, ValueError):  # in memory, or closed
            return False
    holds = depth and isinstance(iterator, (Iterator, tuple))  # map and zip have a tuple of theirs
    within = gc.get_referents(iterator) if holds else []
    return any(reads_open_file(each, depth - 1) for each in within)


def has_exact_state(samples: Any) -> bool:
    """Whether a source goes on exactly by a state of its own, so that it need not be read again.

    Not by one that has to be told where it is, such as litData's and mosaicml's, which their own loaders tell.
    """
    if not (hasattr(samples, "state_dict") and hasattr(samples, "load_state_dict")):
        return False
    told = any(each.default is each.empty for each in inspect.signature(samples.state_dict).parameters.values())
    return not (told or _has_step(samples, LOSES_ITS_BUFFER) or (is_hugging_face(samples) and _loses_samples()))


def _loses_samples() -> bool:
    return tuple(map(int, sys.modules["datasets"].__version__.split(".")[:2])) < LOSES_NO_SAMPLES


def _has_step(samples: Any, kinds: set[str]) -> bool:
    """Whether a Hugging Face data set, or one of those that it is made of, has a step of some kinds."""
    parts = [getattr(samples, "_ex_iterable", None)]
    while parts:
        part = parts.pop()
        if type(part).__name__ in kinds:
            return True
        parts += [getattr(part, "ex_iterable", None), *getattr(part, "ex_iterables", ())] if part is not None else []
    return False


def twin(samples: Any) -> Any:
    """Return a shallow copy, whose attributes are its own; Hugging Face's share theirs with their copies.

    Example:
        >>> class Rows:
        ...     def __setstate__(self, state):
        ...         self.__dict__ = state
        >>> rows = Rows()
        >>> twin(rows).position = 3
        >>> hasattr(rows, "position")
        False
    """
    copied = copy.copy(samples)
    if hasattr(copied, "__dict__"):
        copied.__dict__ = vars(samples).copy()
    return copied


def name_sources(sources: Mapping[Any, Any] | Sequence[Any]) -> list[Source]:
    """Return the sources under their names: the keys of a mapping, else their numbers; at least two, none empty."""
    if not isinstance(sources, (Mapping, Sequence)) or isinstance(sources, str):
        hint = "sources.datasets" if hasattr(sources, "datasets") else '{"web": web, "books": books}'
        raise TypeError(
            f"sources must be a mapping or a sequence of iterables, got {type(sources).__name__}; give {hint}, or for "
            "the classes of one map-style data set use MixedBatchSampler(labels, mixer, batch_size=...)"
        )
    named = sources if isinstance(sources, Mapping) else dict(enumerate(sources))
    if len(named) < 2:
        raise ValueError(f"sources must be at least 2 to be mixed, got {len(named)}")
    names = plain_names(named, "names of sources")
    found = [Source(name, samples) for name, samples in zip(names, named.values(), strict=True)]
    owners: dict[int, Any] = {}  # of iterators, by identity
    for source in found:
        if source.size == 0:
            raise ValueError(f"sources: {source.name!r} is empty")
        if isinstance(source.samples, Iterator) and owners.setdefault(id(source.samples), source.name) != source.name:
            raise ValueError(
                f"sources: {owners[id(source.samples)]!r} and {source.name!r} are the same iterator, so each of its "
                "samples would come under one of the two names; give each source an iterable of its own"
            )
    return found
