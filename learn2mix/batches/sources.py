"""The data of a stream: named iterables, and what they see of the process that reads them."""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import Dataset, IterableDataset
from torch.utils.data._utils import worker

from learn2mix.partition import plain_names


class OneShotError(ValueError):
    """An iterator that can be read once was to begin again."""


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

    def splits_into(self, num_shards: int) -> bool:
        """Whether its method ``shard`` gives this many shards; Hugging Face's says how many at most."""
        most = getattr(self.samples, "num_shards", getattr(self.samples, "n_shards", None))
        return most is None or most >= num_shards

    def open(self, samples: Any) -> Iterator[Any]:
        """Begin a pass over the source itself, or over a shard of it; a OneShotError where it cannot begin again."""
        if self.random_access:
            return (samples[index] for index in range(len(samples)))
        iterator = iter(samples)
        return self._again(iterator) if iterator is samples else iterator

    def _again(self, iterator: Iterator[Any]) -> Iterator[Any]:
        """Read from an iterator that returns itself: it begins anew, as some do, or it is used up or in the middle."""
        first = next(iterator, iterator)  # by next alone: iter would make it begin anew
        if first is not iterator and self._first in (None, digest(first)):
            self._first = digest(first)
            yield first
            while (sample := next(iterator, iterator)) is not iterator:
                yield sample
        elif self._first is not None:
            raise OneShotError(
                f"sources: {self.name!r} is a one-shot iterator (such as a generator) and cannot be read from its "
                "beginning again; give an object that can be iterated anew, such as one with an __iter__ method, or "
                'pass on_exhausted="stop_first" and iterate once'
            )


def _check_samples(name: Any, samples: Any) -> None:
    hint = ""
    if isinstance(samples, (str, bytes)) or hasattr(samples, "__fspath__"):
        hint = "; open it and give an iterable of samples"
    elif isinstance(samples, Mapping) or type(samples).__name__ in ("DataFrame", "DatasetDict", "IterableDatasetDict"):
        hint = "; iterated it gives its keys: give its rows, such as samples.values() or samples.to_dict('records')"
    elif callable(samples) and not hasattr(samples, "__iter__") and not hasattr(samples, "__getitem__"):
        hint = "; call it, or give an object whose __iter__ calls it"
    iterable = hasattr(samples, "__iter__") or (hasattr(samples, "__getitem__") and hasattr(samples, "__len__"))
    if hint or not iterable:
        raise TypeError(f"sources: {name!r} must be an iterable of samples, got {type(samples).__name__}{hint}")


class Seen:
    """What ``torch.utils.data.get_worker_info()`` returns to a source while it is read.

    A source that asks for it splits itself by worker; one that asks ``torch.distributed`` for the rank, by process too.
    """

    seed, dataset = 0, None

    def __init__(self, shard: int, num_shards: int) -> None:
        self._shard, self._num_shards = shard, num_shards
        self.asked = self.asked_rank = False

    @property
    def id(self) -> int:
        """The shard, which torch's pattern takes for the worker."""
        self.asked = True
        return self._shard

    @property
    def num_workers(self) -> int:
        """How many there are."""
        self.asked = True
        return self._num_shards

    def noticed(self, ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Ask ``torch.distributed``, and note it."""
        self.asked_rank = True
        return ask(*args, **kwargs)


@contextmanager
def seen_as(seen: Seen | None, notice_rank: bool = False) -> Iterator[None]:
    """Let sources see this process as one worker of some; None as a process without workers."""
    info, worker._worker_info = worker._worker_info, seen  # type: ignore[assignment]
    asked = {name: getattr(dist, name) for name in ("get_rank", "get_world_size")} if seen and notice_rank else {}
    try:
        for name, ask in asked.items():
            setattr(dist, name, partial(seen.noticed, ask))  # type: ignore[union-attr]
        yield
    finally:
        worker._worker_info = info
        for name, ask in asked.items():
            setattr(dist, name, ask)


def digest(sample: Any) -> int:
    """Return a number that tells a sample from others, the same in every process; -1 where it cannot be pickled.

    Example:
        >>> digest(torch.ones(3)) == digest(torch.ones(4)[1:])
        True
    """
    pickled = io.BytesIO()
    try:
        _ByValue(pickled).dump(sample)
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
