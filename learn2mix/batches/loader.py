"""A loader whose workers decode ahead by group, while each batch is composed at the last moment."""

from __future__ import annotations

import pickle
from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any

import numpy as np
from torch.utils.data import DataLoader, default_collate

from learn2mix.batches.passes import Passes
from learn2mix.checks import check_whole
from learn2mix.functional import apportion_owed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from learn2mix.batches.sampler import MixedBatchSampler
    from learn2mix.checks import Counts

__all__ = ["ZeroLagLoader"]


class ZeroLagLoader:
    """Loads with worker processes and yet lets every update act on the very next batch.

    A ``DataLoader`` with workers composes batches ahead, at mixes that are out of date by then. Here only *samples* are
    ahead: the next draws of each group are known whatever the mix will be, so the workers decode those, most of the
    groups with the largest shares, and a batch is composed when it is asked for. The batches are those of a
    ``DataLoader`` without workers, and ``sampler.lag`` is 0 once a batch is observed.

    Takes the place of the ``DataLoader``, also under a Trainer. On one process.

    Args:
        dataset: map-style data.
        batch_sampler: composes the batches.
        num_workers: worker processes, at least 1.
        prefetch_factor: batches to decode ahead, at least 1.
        collate_fn: makes a batch of a list of samples, in this process; None for torch's.
        loader_args: what else the inner ``DataLoader`` takes, such as ``worker_init_fn``, ``timeout``,
            ``multiprocessing_context``.

    Raises:
        ValueError: if a number is below 1.
        RuntimeError: when iterated with more than one process.

    Example:
        >>> from learn2mix import FixedMix, MixedBatchSampler
        >>> sampler = MixedBatchSampler([0, 0, 0, 1, 1, 1], FixedMix(), batch_size=2)
        >>> loader = ZeroLagLoader(range(6), sampler, num_workers=1)
        >>> sorted(int(index) for batch in loader for index in batch)
        [0, 1, 2, 3, 4, 5]
    """

    def __init__(
        self,
        dataset: Any,  # not Dataset[Any]: jsonargparse cannot build what is generic
        batch_sampler: MixedBatchSampler,
        *,
        num_workers: int,
        prefetch_factor: int = 2,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        **loader_args: Any,
    ) -> None:
        self.dataset, self.batch_sampler = dataset, batch_sampler
        self.num_workers = check_whole(num_workers, "num_workers")
        self.prefetch_factor = check_whole(prefetch_factor, "prefetch_factor")
        self.collate_fn = default_collate if collate_fn is None else collate_fn
        self._loader_args = loader_args
        self._chunk_size = -(-batch_sampler.batch_size // self.num_workers)  # so that all work on each batch
        self._samples: Iterator[bytes] | None = None

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        """Begin the sampler's next epoch, or go on with one that a loaded state was in the middle of."""
        if self.batch_sampler.num_replicas > 1:
            raise RuntimeError("ZeroLagLoader: works on one process; use a DataLoader with many")
        batches = iter(self.batch_sampler)
        if self._samples is None or not np.array_equal(self.batch_sampler.draws, self._taken):
            self._start()  # the first time, or the sampler has moved: a state was loaded, an epoch was left early
        return self._collated(batches)

    def _start(self) -> None:
        self._taken = self.batch_sampler.draws
        self._asked: Counts = self.batch_sampler.draws.copy()  # draws sent to the workers, of each group
        self._passes = Passes(self.batch_sampler.partition, self.batch_sampler.seed)
        self._waiting: deque[list[int]] = deque()  # the indices of each chunk that is still out
        self._ready: dict[int, deque[Any]] = defaultdict(deque)
        self._samples = iter(
            DataLoader(
                self.dataset,
                batch_sampler=self._chunks(),  # type: ignore[arg-type]
                collate_fn=_pack,
                num_workers=self.num_workers,
                prefetch_factor=self.prefetch_factor,
                **self._loader_args,
            )
        )

    def _collated(self, batches: Iterator[list[int]]) -> Iterator[Any]:
        for indices in batches:
            self._taken = self.batch_sampler.draws
            yield self.collate_fn([self._sample(index) for index in indices])

    def _sample(self, index: int) -> Any:
        while not self._ready[index]:
            chunk = pickle.loads(next(self._samples))  # type: ignore[arg-type]
            for arrived, sample in zip(self._waiting.popleft(), chunk, strict=True):
                self._ready[arrived].append(sample)
        sample = self._ready[index].popleft()
        if not self._ready[index]:
            del self._ready[index]
        return sample

    def _chunks(self) -> Iterator[list[int]]:
        """What to decode next, asked for whenever a chunk has arrived."""
        while True:
            counts = self._next_counts()
            indices = self._passes.draw(self._asked, counts)
            self._asked = self._asked + counts
            self._waiting.append(indices)
            yield indices

    def _next_counts(self) -> Counts:
        ahead = self._asked - self.batch_sampler.draws
        lacking: Counts = np.maximum(-ahead, 0)
        if lacking.any():  # in the batch that is being put together
            return lacking
        # As the mix would have it, had it been what it is now all along.
        wanted = np.maximum(self.batch_sampler.newest_proportions * (ahead.sum() + self._chunk_size) - ahead, 0.0)
        return apportion_owed(wanted * (self._chunk_size / wanted.sum()), self._chunk_size)


def _pack(samples: list[Any]) -> bytes:
    # One message of bytes: a tensor each in shared memory would run out of file descriptors.
    return pickle.dumps(samples, protocol=pickle.HIGHEST_PROTOCOL)
