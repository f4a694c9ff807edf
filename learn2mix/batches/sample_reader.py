"""What workers do for zero lag: decode the samples of a chunk, and collate them where that is torch's own way."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch._utils import ExceptionWrapper

from learn2mix.batches.map_reader import fetch
from learn2mix.batches.packing import SMALL, Packed, shared_block
from learn2mix.batches.stacking import Stacked, block_size, common_kind, stack


class ChunkRequest(NamedTuple):
    """Samples to decode in one go."""

    number: int
    indices: list[int]


class Decoded:
    """The samples of a chunk: a batch of them, or a list, with an ``ExceptionWrapper`` for one that failed."""

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
        self._reads_many = hasattr(dataset, "__getitems__")

    def __getitem__(self, request: ChunkRequest) -> Packed:
        number, indices = request
        try:
            samples = self._decode_all(indices)
            return (self._collated(number, samples) if self._collates else None) or Packed(Decoded(number, samples))
        except Exception:  # of what cannot be sent, say: the chunk is waited for, so that it has to come
            failure = ExceptionWrapper(where=f"while decoding samples {indices}")  # type: ignore[no-untyped-call]
            return Packed(Decoded(number, [failure] * len(indices)))

    def _collated(self, number: int, samples: list[Any]) -> Packed | None:
        """Return samples as a batch; None where they are not of one kind."""
        kind = common_kind(samples)
        if kind is None:
            return None
        size, block, shortage = block_size(kind, len(samples)), None, None
        try:
            if size > SMALL:
                block = shared_block(size)
        except OSError as error:
            shortage = str(error)
        try:
            stacked = stack(samples, kind, block)
        except Exception:  # whoever collates the samples of a batch meets it again, and says of which
            return None
        return Packed(Decoded(number, stacked), block=block, shares=False, shortage=shortage)

    def _decode_all(self, indices: list[int]) -> list[Any]:
        if not self._reads_many:
            return self._decode_each(indices)
        try:
            samples = list(fetch(self._dataset, indices))
        except Exception:  # of one of them: which, each tells alone
            return self._decode_each(indices)
        if len(samples) != len(indices):
            raise ValueError(f"dataset.__getitems__ must return {len(indices)} samples, got {len(samples)}")
        return samples

    def _decode_each(self, indices: list[int]) -> list[Any]:
        samples: list[Any] = []
        for index in indices:
            try:
                samples.append(fetch(self._dataset, [index])[0] if self._reads_many else self._dataset[index])
            except Exception:  # raised where the sample is needed
                samples.append(ExceptionWrapper(where=f"while decoding sample {index}"))  # type: ignore[no-untyped-call]
        return samples
