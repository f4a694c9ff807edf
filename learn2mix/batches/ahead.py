"""Zero lag: samples are decoded ahead of the batches, and each batch is composed when it is asked for."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
from torch._utils import ExceptionWrapper
from torch.utils.data import default_collate

from learn2mix.batches.answers import Answer, Unreadable
from learn2mix.batches.chunks import Chunk, Chunks, Indices, Taken
from learn2mix.batches.forecast import Forecast
from learn2mix.batches.map_reader import MapReader, MapRequest
from learn2mix.batches.packing import pinned
from learn2mix.batches.pipeline import Pipeline
from learn2mix.batches.sample_reader import ChunkRequest, SampleReader
from learn2mix.batches.sampler import MixedBatchSampler
from learn2mix.batches.stacking import gather, is_stacked


class AheadDecoder:
    """Decodes the samples that the next batches would have if the mix stayed as it is.

    A batch that is what was foreseen is one chunk, collated by the worker that decoded it. Any other is collated here,
    of samples of several chunks; what none of them has is decoded before anything else. A sample is known by its index,
    so that whatever is missed, fails or comes too much, no batch gets another's.

    Args:
        reader: makes a batch of samples.
        sampler: composes the batches.
        num_workers: worker processes, at least 1.
        prefetch_factor: batches that each of them has on its way.
        loader_args: what else ``DataLoader`` takes.
    """

    def __init__(
        self,
        reader: MapReader,
        sampler: MixedBatchSampler,
        num_workers: int,
        prefetch_factor: int,
        loader_args: dict[str, Any],
    ) -> None:
        self._reader, self._forecast = reader, Forecast(sampler)
        self._num_workers = num_workers
        self._num_ahead = num_workers * prefetch_factor + 1  # one more than is on its way: no worker waits for it
        decoding = SampleReader(reader.dataset, collates=reader.collate is default_collate)
        loader_args = loader_args | {"prefetch_factor": prefetch_factor}
        self._pipeline = Pipeline(decoding, reader.dataset, num_workers, loader_args)
        self._pipeline.feed(_requests(weakref.WeakMethod(self._next_request)))
        self._numbers = count()
        self._coming: dict[int, Chunk] = {}  # being decoded, by number
        self._chunks = Chunks()
        self._urgent: deque[Chunk] = deque()  # to decode for the batch that is waited for
        self._foreseen: deque[Indices] = deque()  # and for those after it

    @property
    def alive(self) -> bool:
        """Whether it can answer: see :attr:`Pipeline.alive`."""
        return self._pipeline.alive

    def close(self) -> None:
        """End the workers."""
        self._pipeline.close()

    def answer(self, request: MapRequest) -> Answer:
        """Return a batch, once all its samples are decoded.

        The error of a sample is raised, or, if the reader skips, the sample is left out.
        """
        indices = np.asarray(request.indices, dtype=np.int64)
        whole = self._chunks.take_whole(indices)
        taken = self._take(indices) if whole is None else Taken.all_of(whole)
        wanted = self._forecast.next(self._num_ahead)
        self._foreseen = deque(self._chunks.missing(wanted, most_spare=self._num_ahead * len(indices)))
        for chunk in taken.chunks:
            while chunk.content is None:
                self._receive()
        contents = [chunk.content for chunk in taken.chunks]
        if is_stacked(contents):
            stacked = contents[0] if whole else gather(contents, taken.owners, taken.rows)
            answer = Answer(request.number, request.generation, stacked.batch, None, [], None)
        else:
            samples = [chunk.samples() for chunk in taken.chunks]
            places = zip(taken.owners.tolist(), taken.rows.tolist(), strict=True)
            answer = self._collated(request, [samples[owner][row] for owner, row in places])
        for chunk in taken.chunks:
            chunk.shrink()
        return answer._replace(batch=pinned(answer.batch)) if self._pipeline.pins else answer

    def _take(self, indices: Indices) -> Taken:
        """Take the samples of a batch; what is missing is asked for, of all workers at once."""
        chunks, owners, rows = self._chunks.take(indices)
        used, owners[owners >= 0] = np.unique(owners[owners >= 0], return_inverse=True)
        chunks = [chunks[owner] for owner in used.tolist()]
        for places in np.array_split((owners < 0).nonzero()[0], self._num_workers):
            if len(places):
                owners[places], rows[places] = len(chunks), np.arange(len(places))
                chunks.append(Chunk(indices[places], free=False))
                self._urgent.append(chunks[-1])
        return Taken(chunks, owners, rows)

    def _collated(self, request: MapRequest, samples: list[Any]) -> Answer:
        failed = []
        for place, sample in enumerate(samples):
            if isinstance(sample, ExceptionWrapper):
                if not self._reader.skip:
                    sample.reraise()  # type: ignore[no-untyped-call]
                failed.append(f"sample {request.indices[place]}: {sample.exc_type.__name__}")
                samples[place] = Unreadable
        return self._reader.answer(request, samples, failed)

    def _receive(self) -> None:
        decoded = self._pipeline.answer()
        if decoded is not None:
            self._coming.pop(decoded.number).content = decoded.content

    def _next_request(self) -> ChunkRequest | None:
        """Return what a worker decodes next; None for nothing."""
        if self._urgent:
            chunk = self._urgent.popleft()
        elif self._foreseen:
            chunk = Chunk(self._foreseen.popleft())
            self._chunks.add(chunk)
        else:
            return None
        number = next(self._numbers)
        self._coming[number] = chunk
        return ChunkRequest(number, chunk.indices.tolist())


def _requests(next_request: weakref.WeakMethod[Any]) -> Iterator[ChunkRequest | None]:
    """Yield the requests of a decoder, without end; between them nothing here keeps it alive."""
    while True:
        method = next_request()
        request = None if method is None else method()
        del method
        yield request
