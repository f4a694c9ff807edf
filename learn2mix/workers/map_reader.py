"""What workers read of map-style data: whole batches as they are asked for, or, for zero lag, chunks of samples."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch._utils import ExceptionWrapper
from torch.utils.data import IterableDataset, default_collate

from learn2mix.data.samples import Samples
from learn2mix.workers.answers import Answer, Unreadable, collated, order_of
from learn2mix.workers.packing import Block, Packed
from learn2mix.workers.stacking import Stacked, block_size, common_kind, stack

if TYPE_CHECKING:
    from learn2mix.batches.sampler import MapRequest

NO_END = "raised StopIteration, which would end the epoch early; catch it there, or raise another error"


class MapReader:
    """Reads and collates; with ``skip`` a sample that cannot be read, or that ``collate`` drops, is left out."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None, *, skip: bool) -> None:
        self.dataset, self.skip = dataset, skip
        self.collate = default_collate if collate is None else collate

    def __getitem__(self, request: MapRequest) -> Answer:
        read = fetch_each if self.skip else fetch
        return self.answer(request, read(self.dataset, request.indices))

    def answer(self, request: MapRequest, samples: Any) -> Answer:
        """Return a batch of samples, ``Unreadable`` in the place of one that failed."""
        number, generation, indices = request
        if isinstance(samples, Samples) and self.collate is default_collate:
            return Answer(number, generation, samples.batch)

        if self.skip or self.collate is default_collate:  # which does not say of which samples an error is

            def name(place: int) -> str:
                return f"sample {indices[place]}"

            return Answer(number, generation, *collated(list(samples), name, self.collate, skip=self.skip))
        given = samples.copy() if isinstance(samples, list) else None  # which it may sort in place
        try:
            batch = self.collate(samples)
        except StopIteration as error:
            raise RuntimeError(f"collate_fn {NO_END}") from error
        places = list(range(len(samples)))
        order = places if given is None else order_of(samples, given, places)
        return Answer(number, generation, batch, None if order is places else order)


class ChunkRequest(NamedTuple):
    """Samples to decode in one go."""

    number: int
    indices: list[int]


class Decoded:
    """The samples of a chunk: a batch of them, or a list, with :class:`Unreadable` for one that failed."""

    __slots__ = ("content", "number")

    def __init__(self, number: int, content: Stacked | list[Any]) -> None:
        self.number, self.content = number, content

    def pin_memory(self) -> Decoded:
        """Return the same, a batch of samples in pinned memory; samples that are to be collated stay as they are."""
        content = self.content
        return Decoded(self.number, content.pin_memory() if isinstance(content, Stacked) else content)


class SampleReader:
    """Decodes samples, several at once where the data set can; a failure is the failure of one of them.

    Args:
        dataset: map-style data.
        collates: whether the samples of a chunk may be collated as ``default_collate`` does it.
    """

    def __init__(self, dataset: Any, *, collates: bool) -> None:
        self._dataset, self._collates = dataset, collates

    def __getitem__(self, request: ChunkRequest) -> Packed:
        number, indices = request
        try:
            samples = list(fetch_each(self._dataset, indices))
            if len(samples) != len(indices):
                raise ValueError(f"dataset.__getitems__ must return {len(indices)} samples, got {len(samples)}")
            kind = common_kind(samples) if self._collates else None
            if kind is not None:
                with suppress(Exception):  # whoever collates the samples of a batch meets it again, and says of which
                    block = Block(block_size(kind, len(samples)))
                    return Packed(Decoded(number, stack(samples, kind, block)), block)
            return Packed(Decoded(number, samples))
        except Exception as error:  # of what cannot be sent, say: the chunk is waited for, so that it has to come
            return Packed(Decoded(number, [_failed(index, error) for index in indices]))


def fetch(dataset: Any, indices: NDArray[np.integer[Any]] | list[int]) -> Any:
    """Return the samples of a data set at these indices, at once where it can.

    Its ``__getitems__`` gets a list, as torch promises, unless the data set says that it ``takes_index_arrays``.
    """
    get_all = getattr(dataset, "__getitems__", None)
    if isinstance(indices, np.ndarray) and not (get_all and getattr(dataset, "takes_index_arrays", False)):
        indices = indices.tolist()
    try:
        return get_all(indices) if get_all else [dataset[index] for index in indices]
    except StopIteration as error:
        raise RuntimeError(f"dataset: one of its samples {NO_END}") from error


def fetch_each(dataset: Any, indices: NDArray[np.integer[Any]] | list[int]) -> Sequence[Any]:
    """Return the same samples, :class:`Unreadable` for one that fails."""
    if hasattr(dataset, "__getitems__"):
        with suppress(Exception):  # of one of them: which, each tells alone
            return fetch(dataset, indices)  # type: ignore[no-any-return]
    samples: list[Any] = []
    for index in np.asarray(indices).tolist():
        try:
            samples.append(fetch(dataset, [index])[0])
        except Exception as error:
            samples.append(_failed(index, error))
    return samples


def tell_epoch(dataset: Any, epoch: int) -> bool:
    """Tell map-style data that have a ``set_epoch``; return whether it was told."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "set_epoch"):
        return False
    dataset.set_epoch(epoch)
    return True


def _failed(index: int, error: Exception) -> Unreadable:
    wrapper = ExceptionWrapper(where=f"while decoding sample {index}")  # type: ignore[no-untyped-call]
    try:
        pickle.dumps(wrapper.exc_type)
    except Exception:  # it could not be sent, and its chunk neither; the text says what it was
        wrapper.exc_type = RuntimeError
    return Unreadable(f"sample {index}: {type(error).__name__}: {error}", wrapper)
