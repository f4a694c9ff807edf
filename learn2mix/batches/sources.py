"""The data of a stream: named iterables, and how each is split over those that read it."""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch.distributed as dist
from torch.utils.data import Dataset, IterableDataset
from torch.utils.data._utils import worker

from learn2mix.partition import plain_names

if TYPE_CHECKING:
    from learn2mix.checks import Vector

__all__ = ["OneShotError", "Seen", "Source", "digest", "name_sources", "prior_of", "seen_as"]


class OneShotError(ValueError):
    """An iterator that can be read once was to begin again."""


class Source:
    """A group of a stream.

    Args:
        name: of the group.
        samples: an iterable that gives the same samples in each pass; or map-style data, read in order.

    Raises:
        TypeError: if ``samples`` is neither, or is a path, text or a mapping, which are iterable by mistake.

    Example:
        >>> source = Source("digits", range(7))
        >>> source.size, source.random_access
        (7, True)
    """

    def __init__(self, name: int | str, samples: Any) -> None:
        _check_samples(name, samples)
        self.name, self.samples = name, samples
        sized = hasattr(samples, "__getitem__") and hasattr(samples, "__len__")
        in_order = isinstance(samples, (Sequence, np.ndarray)) or hasattr(samples, "__getitems__")
        in_order = in_order or not hasattr(samples, "__iter__")
        in_order = in_order or (isinstance(samples, Dataset) and not isinstance(samples, IterableDataset))
        self.random_access = sized and in_order
        self._first: int | None = None  # digest of the first sample, of an iterator that returns itself

    @property
    def size(self) -> int | None:
        """Its number of samples; None where it does not say."""
        try:
            return len(self.samples)
        except (TypeError, NotImplementedError):
            return None

    @property
    def split_by_rank(self) -> bool:
        """Whether it says that it gives this process only its own part (Hugging Face's split_dataset_by_node)."""
        return getattr(self.samples, "_distributed", None) is not None

    def splits_into(self, num_shards: int) -> bool:
        """Whether it has a method ``shard`` for this many shards, as Hugging Face's have it."""
        if self.random_access or not hasattr(self.samples, "shard"):
            return False
        most = getattr(self.samples, "num_shards", getattr(self.samples, "n_shards", None))
        return most is None or most >= num_shards

    def shard(self, index: int, num_shards: int) -> Any:
        """Return one shard of it, an iterable."""
        return self.samples.shard(num_shards=num_shards, index=index)

    def open(self, samples: Any) -> Iterator[Any]:
        """Begin a pass.

        Args:
            samples: the source itself, or a shard of it.

        Raises:
            OneShotError: if it is an iterator that cannot begin again.
        """
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
            return
        if self._first is not None:
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

    Args:
        shard: which part is to be read.
        num_shards: of how many.

    Attributes:
        asked: whether the source asked which part it is to give, so that it splits itself by worker.
        asked_rank: whether it asked ``torch.distributed`` for the rank, so that it splits itself by process as well.
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


@contextmanager
def seen_as(seen: Seen | None, notice_rank: bool = False) -> Iterator[None]:
    """Let sources see this process as one worker of some; None as a process without workers."""
    info, worker._worker_info = worker._worker_info, seen  # type: ignore[assignment]
    originals = {name: getattr(dist, name) for name in ("get_rank", "get_world_size")} if notice_rank else {}

    def noticing(original: Any) -> Any:
        def asked(*args: Any, **kwargs: Any) -> Any:
            if seen is not None:
                seen.asked_rank = True
            return original(*args, **kwargs)

        return asked

    for name, original in originals.items():
        setattr(dist, name, noticing(original))
    try:
        yield
    finally:
        worker._worker_info = info
        for name, original in originals.items():
            setattr(dist, name, original)


def digest(sample: Any) -> int:
    """Return a number that tells a sample from others; -1 where it cannot be pickled."""
    try:
        return zlib.crc32(pickle.dumps(sample))
    except Exception:  # whatever a sample's own pickling raises
        return -1


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


def prior_of(sources: Iterable[Source]) -> Vector:
    """Return the data's own proportions, shape ``(num_groups,)``: by size, or uniform where a size is unknown."""
    sizes = np.array([source.size or 0 for source in sources], dtype=np.float64)
    mix: Vector = sizes / sizes.sum() if sizes.all() else np.full(len(sizes), 1 / len(sizes))
    return mix
