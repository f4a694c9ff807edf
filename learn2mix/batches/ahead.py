"""Zero lag: samples are decoded ahead of the batches, and each batch is composed when it is asked for."""

from __future__ import annotations

import weakref
from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

from torch._utils import ExceptionWrapper

from learn2mix.batches.answers import Unreadable
from learn2mix.batches.map_reader import fetch
from learn2mix.batches.pipeline import Packed, Pipeline
from learn2mix.batches.sampler import MixedBatchSampler


class AheadDecoder:
    """Decodes the samples that the next batches would have if the mix stayed as it is.

    What a batch turns out to need besides is decoded before anything else. A sample is known by its index, so that
    whatever is missed, fails or comes too much, no batch gets another's.
    """

    def __init__(
        self,
        dataset: Any,
        sampler: MixedBatchSampler,
        num_workers: int,
        prefetch_factor: int,
        loader_args: dict[str, Any],
    ) -> None:
        self._sampler, self._num_ahead = sampler, prefetch_factor
        self._chunk_size = -(-sampler.batch_size // num_workers)  # so that all work on each batch
        loader_args = loader_args | {"prefetch_factor": prefetch_factor}
        self._pipeline = Pipeline(_SampleReader(dataset), dataset, num_workers, loader_args)
        self._pipeline.feed(_chunks(weakref.WeakMethod(self._next_chunk)))
        self._ready: dict[int, deque[Any]] = {}  # samples, or ExceptionWrapper for one that failed, by index
        self._coming: Counter[int] = Counter()  # how often each is being decoded
        self._urgent: deque[int] = deque()  # to decode for the batch that is waited for
        self._foreseen: deque[int] = deque()  # and for those after it

    def samples(self, indices: list[int], *, skip: bool) -> tuple[list[Any], list[str]]:
        """Return samples once all are decoded, and what failed and why.

        With ``skip`` a failed sample is ``Unreadable``; else its error is raised.
        """
        needed = Counter(indices)
        missing = Counter({index: count - self._num_there(index) for index, count in needed.items()})
        self._urgent = deque((+missing).elements())
        self._foreseen = self._foresee()
        for index, count in needed.items():
            while len(self._ready.get(index, ())) < count:
                self._receive()
        samples = [self._ready[index].popleft() for index in indices]
        for index in needed:
            if not self._ready[index]:
                del self._ready[index]
        failed = []
        for place, sample in enumerate(samples):
            if isinstance(sample, ExceptionWrapper):
                if not skip:
                    sample.reraise()  # type: ignore[no-untyped-call]
                failed.append(f"sample {indices[place]}: {sample.exc_type.__name__}")
                samples[place] = Unreadable
        return samples, failed

    def _receive(self) -> None:
        answer = self._pipeline.answer()
        if answer is None:
            return
        for index, sample in zip(*answer, strict=True):
            self._coming[index] -= 1
            self._ready.setdefault(index, deque()).append(sample)

    def _next_chunk(self) -> list[int] | None:
        """Return what a worker decodes next; None for nothing."""
        queue = self._urgent or self._foreseen
        chunk = [queue.popleft() for _ in range(min(self._chunk_size, len(queue)))]
        self._coming.update(chunk)
        return chunk or None

    def _foresee(self) -> deque[int]:
        """Return what the batches after this one need, that is neither ready nor coming, at the mix of the moment."""
        wanted = Counter(self._sampler.foresee(self._num_ahead))
        too_many = sum(map(len, self._ready.values())) - 4 * self._num_ahead * self._sampler.batch_size
        for index in [index for index in self._ready if not wanted[index]]:
            if too_many <= 0:
                break
            too_many -= len(self._ready.pop(index))  # foreseen by a mix that has moved on
        order: deque[int] = deque()
        for index, count in wanted.items():
            order.extend([index] * (count - self._num_there(index)))
        return order

    def _num_there(self, index: int) -> int:
        """Return how often a sample is ready or coming."""
        return len(self._ready.get(index, ())) + self._coming[index]


def _chunks(next_chunk: weakref.WeakMethod[Any]) -> Iterator[list[int] | None]:
    """Yield the requests of a decoder, without end; between them nothing here keeps it alive."""
    while True:
        method = next_chunk()
        chunk = None if method is None else method()
        del method
        yield chunk


class _SampleReader:
    """Decodes samples, several at once where the data set can; a failure is the failure of one of them."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getitem__(self, indices: list[int]) -> Packed:
        # A tensor each in shared memory would run out of file descriptors.
        return Packed((indices, self._decode_all(indices)))

    def _decode_all(self, indices: list[int]) -> list[Any]:
        if not hasattr(self._dataset, "__getitems__"):
            return [self._decode(index) for index in indices]
        try:
            return list(fetch(self._dataset, indices))
        except Exception:  # of one of them: which, each tells alone
            return [self._decode(index) for index in indices]

    def _decode(self, index: int) -> Any:
        try:
            (sample,) = fetch(self._dataset, [index])
            return sample
        except Exception:  # raised where the sample is needed
            return ExceptionWrapper(where=f"while decoding sample {index}")  # type: ignore[no-untyped-call]
