"""Zero lag: samples are decoded ahead of the batches, and each batch is composed when it is asked for."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from itertools import count, repeat
from typing import Any

import numpy as np
from torch.utils.data import default_collate

from learn2mix.batches.lock import locked
from learn2mix.batches.sampler import MapRequest, MixedBatchSampler
from learn2mix.batches.torch_loader import call_if_alive
from learn2mix.loader.chunks import Chunk, Chunks, Indices, Taken
from learn2mix.workers.answers import Answer, Unreadable
from learn2mix.workers.map_reader import ChunkRequest, MapReader, SampleReader
from learn2mix.workers.packing import pinned
from learn2mix.workers.pipeline import Pipeline
from learn2mix.workers.stacking import gather, is_stacked


class AheadDecoder(Pipeline):
    """Decodes the samples that the next batches would have if the mix stayed as it is.

    A batch that is what was foreseen is one chunk, collated by the worker that decoded it. Any other is collated here,
    of samples of several chunks; what none of them has is decoded before anything else. A sample is known by its index,
    so that whatever is missed, fails or comes too much, no batch gets another's.

    ``reader`` makes a batch of samples, ``sampler`` composes it; ``max_ahead`` batches are on their way.
    """

    def __init__(
        self,
        reader: MapReader,
        sampler: MixedBatchSampler,
        num_workers: int,
        max_ahead: int,
        loader_args: dict[str, Any],
    ) -> None:
        decoding = SampleReader(reader.dataset, collates=reader.collate is default_collate)
        super().__init__(decoding, reader.dataset, num_workers, loader_args, sampler.rank)
        # Without end, and between two of them nothing here keeps this alive.
        self.feed(map(call_if_alive, repeat(weakref.WeakMethod(self._next_request))))
        self._reader, self._sampler = reader, sampler
        self._num_workers = num_workers
        self._num_ahead = max_ahead + 1  # one more than is on its way: no worker waits for it
        self._numbers = count()
        self._coming: dict[int, Chunk] = {}  # being decoded, by number
        self._chunks = Chunks()
        self._urgent: deque[Chunk] = deque()  # to decode for the batch that is waited for
        self._foreseen: deque[Indices] = deque()  # and for those after it

    def answers(self, requests: Iterator[MapRequest]) -> Iterator[Answer]:
        """Return batches, each once all its samples are decoded.

        The error of a sample is raised, or, if the reader skips, the sample is left out.
        """
        return map(self._answer, requests)

    @locked
    def _answer(self, request: MapRequest) -> Answer:
        indices = np.asarray(request.indices, dtype=np.int64)
        chunks, owners, rows = self._take(indices)
        wanted = [foreseen.astype(np.int64) for foreseen in self._sampler.foresee(self._num_ahead)]
        self._foreseen = deque(self._chunks.missing(wanted, most_spare=self._num_ahead * len(indices)))
        for chunk in chunks:
            while chunk.content is None:
                decoded = self.answer()
                if decoded is not None:
                    self._coming.pop(decoded.number).content = decoded.content
        contents = [chunk.content for chunk in chunks]
        if is_stacked(contents):
            is_whole = len(chunks) == 1 and np.array_equal(chunks[0].indices, indices)
            batch = contents[0].batch if is_whole else gather(contents, owners, rows).batch
            answer = Answer(request.number, request.generation, batch)
        else:
            samples = [chunk.samples() for chunk in chunks]
            places = zip(owners.tolist(), rows.tolist(), strict=True)
            answer = self._collated(request, [samples[owner][row] for owner, row in places])
        for chunk in chunks:
            chunk.shrink()
        pins = getattr(self._answers, "_pin_memory", False)
        return answer._replace(batch=pinned(answer.batch)) if pins else answer

    def _take(self, indices: Indices) -> Taken:
        """Take the samples of a batch; what is missing is asked for, of all workers at once."""
        chunks, owners, rows = taken = self._chunks.take(indices)
        missing = (owners < 0).nonzero()[0]
        if len(missing):
            for places in np.array_split(missing, min(self._num_workers, len(missing))):
                owners[places], rows[places] = len(chunks), np.arange(len(places))
                chunks.append(Chunk(indices[places], free=False))
                self._urgent.append(chunks[-1])
        return taken

    def _collated(self, request: MapRequest, samples: list[Any]) -> Answer:
        for sample in samples:
            if isinstance(sample, Unreadable) and sample.error is not None and not self._reader.skip:
                sample.error.reraise()  # type: ignore[no-untyped-call]
        return self._reader.answer(request, samples)

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
