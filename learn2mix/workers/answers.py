"""What comes back for a request: a batch with its number, and which of its samples are left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from operator import not_
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import default_collate


@dataclass
class Unreadable:
    """Stands in the place of a sample that could not be read."""

    why: str  # and which it is
    error: ExceptionWrapper | None = None  # to be raised where no sample may be missing


class Answer(NamedTuple):
    """A batch on its way to the loop."""

    number: int  # of the batch
    generation: int  # of the request: older ones were taken back
    batch: Any  # None where no sample is left
    kept: list[int] | None = None  # places of the samples that are left, in the order they have; None for all as given
    skipped: Sequence[str] = ()  # what could not be read, and why
    news: Any = None  # what was learnt of the sources of a stream


def collated(
    samples: list[Any], name: Callable[[int], str], collate: Callable[[list[Any]], Any], *, skip: bool
) -> tuple[Any, list[int] | None, list[str]]:
    """Return a batch of samples, the places of those that are left in it (None for all), and why others are not.

    Args:
        samples: in the order of the batch; :class:`Unreadable` where one could not be read.
        name: says of the sample at a place where it is from, for the errors.
        collate: the loader's ``collate_fn``; a RuntimeError names the samples that it cannot put together.
        skip: whether samples may be missing: unreadable, or dropped by ``collate``.
    """
    skipped = [sample.why for sample in samples if type(sample) is Unreadable]
    kept, readable = list(range(len(samples))), samples.copy()
    if skipped:
        kept = [place for place, sample in enumerate(samples) if type(sample) is not Unreadable]
        readable = [samples[place] for place in kept]
    if not readable:
        return None, [], skipped
    if collate is default_collate:
        check_keys(readable, lambda place: name(kept[place]))
    if skip and all(sample is None for sample in readable):
        return None, [], skipped + [f"{name(place)}: None" for place in kept]
    try:
        batch = collate(readable)
    except Exception as error:
        raise RuntimeError(
            f"collate_fn failed: {type(error).__name__}: {error}; {_odd_one(readable, kept, name)}"
        ) from error
    as_given = kept
    if collate is not default_collate:
        kept = order_of(readable, samples, kept)
    in_order = kept is as_given
    length = 0 if batch is None else batch_length(batch)
    if skip and length not in (None, len(readable)):
        survives = [bool(length) and _survives(sample, collate) for sample in readable]
        if sum(survives) == length:
            skipped += [f"{name(place)}: dropped by collate_fn" for place in compress(kept, map(not_, survives))]
            kept = list(compress(kept, survives))
    return (batch if kept else None), (None if in_order and len(kept) == len(samples) else kept), skipped


def order_of(collated: list[Any], samples: list[Any], kept: list[int]) -> list[int]:
    """Return the places of samples that a ``collate_fn`` may have sorted in place, in the order that they have now.

    Example:
        >>> a, b, c = "aaa", "b", "cc"
        >>> order_of([a, c, b], [a, b, c], [0, 1, 2])
        [0, 2, 1]
    """
    if all(now is samples[place] for now, place in zip(collated, kept, strict=False)):
        return kept
    places: dict[int, list[int]] = {}  # of each object: a sample may come twice, and sorting leaves such in their order
    for place in reversed(kept):
        places.setdefault(id(samples[place]), []).append(place)
    order = [places[id(sample)].pop() if places.get(id(sample)) else -1 for sample in collated]
    return kept if -1 in order or len(order) != len(kept) else order


def batch_length(batch: Any) -> int | None:
    """Return the number of samples in a batch, read off its first tensor or list; None if it has neither."""
    if isinstance(batch, (torch.Tensor, np.ndarray)):
        return len(batch) if batch.ndim else None
    if isinstance(batch, Mapping):
        return next((n for n in map(batch_length, batch.values()) if n is not None), None)
    if isinstance(batch, (list, tuple)):
        found = next((n for n in map(batch_length, batch) if n is not None), None)
        return found if found is not None else len(batch)
    return None


def _survives(sample: Any, collate: Callable[[list[Any]], Any]) -> bool:
    """Whether ``collate`` keeps a sample, given alone."""
    try:
        return bool(batch_length(collate([sample])))
    except Exception:  # a batch without samples: whatever collate_fn makes of it
        return False


def check_keys(samples: Sequence[Any], name: Callable[[int], str], within: str = "") -> None:
    """Raise a RuntimeError where torch's collate would leave out keys that the first sample lacks, or mix up fields.

    One that only lacks keys fails there.

    Args:
        samples: of a batch, or a part of each.
        name: says of the sample at a place where it is from.
        within: of which part they are the keys.

    Example:
        >>> check_keys([(1, {"x": 1}), (2, {"x": 1, "y": 2})], "sample {}".format)
        Traceback (most recent call last):
        RuntimeError: collate_fn: sample 1 has the keys ['x', 'y'] in [1], but sample 0 has ['x']; ...
    """
    first = samples[0]
    if not isinstance(first, (Mapping, list, tuple)):
        return
    keys = _keys(first)
    parts = first.items() if isinstance(first, Mapping) else enumerate(first)
    nested = [key for key, part in parts if isinstance(part, (Mapping, list, tuple))]
    if keys is None and not nested:
        return
    alike = {type(first)} == set(map(type, samples)) and {len(first)} == set(map(len, samples))
    for place, sample in enumerate(samples if keys is not None and (nested or not alike) else ()):
        of = _keys(sample)
        if of is not None and of != keys:
            raise RuntimeError(
                f"collate_fn: {name(place)} has the keys {list(map(str, of))}{within and ' in ' + within}, but "
                f"{name(0)} has {list(map(str, keys))}; give all samples the same keys, or pass collate_fn="
            )
    for key in nested if alike else ():
        check_keys([sample[key] for sample in samples], name, f"{within}[{key!r}]")


def _keys(sample: Any) -> Any:
    """Return the keys of a mapping, in any order, or the fields of a named tuple, in theirs; else None."""
    return sample.keys() if isinstance(sample, Mapping) else getattr(sample, "_fields", None)


def _odd_one(samples: list[Any], places: list[int], name: Callable[[int], str]) -> str:
    """Say which sample differs from the first, or what the first is."""
    first = _shape(samples[0])
    for sample, place in zip(samples, places, strict=True):
        if _shape(sample) != first:
            return f"{name(place)} is {_shape(sample)}, but {name(places[0])} is {first}"
    return f"{name(places[0])} is {first}, and so are the others"


def _shape(sample: Any) -> str:
    if isinstance(sample, (torch.Tensor, np.ndarray)):
        return f"a {type(sample).__name__} of shape {tuple(sample.shape)}"
    if isinstance(sample, Mapping):
        return "{" + ", ".join(f"{key!r}: {_shape(value)}" for key, value in sample.items()) + "}"
    if isinstance(sample, (list, tuple)):
        return f"a {type(sample).__name__} of {', '.join(map(_shape, sample[:4]))}"
    return f"a {type(sample).__name__}"
