"""The batches of one iteration over a sampler, for loaders that take snapshots of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learn2mix.batches.sampler import MixedBatchSampler

__all__ = ["BatchIterator"]


class BatchIterator(Iterator[list[int]]):
    """Gives out batches, and knows whether a snapshot of the sampler is one that a run can go on from.

    A ``torchdata.StatefulDataLoader`` asks the sampler and this iterator for their states, and restores the sampler
    before this iterator. With workers it asks when a batch is composed: the losses that come in before that batch is
    trained on are missing from the snapshot. Such a snapshot is good for a loop that observes nothing; one that
    observes must load the sampler's own state after it, as ``MixingCallback`` does.

    Args:
        sampler: where the batches come from.
        batches: the batches themselves.
    """

    def __init__(self, sampler: MixedBatchSampler, batches: Iterator[list[int]]) -> None:
        self._sampler, self._batches = sampler, batches
        self._begun = False

    def __next__(self) -> list[int]:
        """Return the next batch."""
        batch = next(self._batches)
        self._begun = True
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Return whether every batch given out so far was observed, and how many there were over all epochs."""
        return {"observed": self._begun and self._sampler.lag == 0, "composed": self._sampler.num_composed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Tell the sampler, which was just restored, if the snapshot lacks losses.

        The loop of the snapshot had every batch that was composed by then; one that never observes goes on after them.
        """
        self._begun = True
        if not self._sampler.observing:
            self._sampler.skip_to(state.get("composed", 0))
        self._sampler.lacks_losses = not state["observed"]
