"""What a sampler or stream tells of itself: who shares its batches, how far it is, and where its losses are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from learn2mix.batches.composition import Composition
    from learn2mix.batches.delivery import Delivery
    from learn2mix.checks import Counts, Vector
    from learn2mix.feedback.feedback import Feedback
    from learn2mix.feedback.processes import Processes
    from learn2mix.mixers.base import Mixer

__all__ = ["Progress"]


class Progress:
    """Reads from the parts of a sampler or stream, and changes nothing.

    Attributes:
        mixer: decides the proportions.
        batch_size: samples per batch and process.
    """

    mixer: Mixer
    batch_size: int
    _processes: Processes
    _composition: Composition
    _delivery: Delivery
    _feedback: Feedback
    _observing: bool

    @property
    def num_replicas(self) -> int:
        """How many processes share each global batch."""
        return self._processes.num_replicas

    @property
    def rank(self) -> int:
        """Which of them this is."""
        return self._processes.rank

    @property
    def global_batch_size(self) -> int:
        """Samples per batch, over all processes."""
        return self.batch_size * self.num_replicas

    @property
    def group_names(self) -> list[Any]:
        """One name per group."""
        return self.mixer.group_names

    @property
    def group_losses(self) -> Vector:
        """Mean loss of each group at the last update, shape ``(num_groups,)``, NaN where unknown; read-only."""
        return self._feedback.group_losses

    @property
    def draws(self) -> Counts:
        """Samples drawn of each group so far, over all processes, shape ``(num_groups,)``; read-only."""
        draws: Counts = _read_only(self._composition.draws)
        return draws

    @property
    def passes(self) -> Vector:
        """How often each group was drawn so far, in samples per sample of it, shape ``(num_groups,)``.

        NaN where the size of a group is not known.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            passes: Vector = self.draws / self._sizes()
        return passes

    @property
    def coverage(self) -> Vector:
        """Share of each group's samples that were drawn at least once, shape ``(num_groups,)``; NaN where unknown."""
        return np.minimum(self.passes, 1.0)

    @property
    def realised(self) -> Vector:
        """The mix of all batches trained on so far, shape ``(num_groups,)``; NaN before the first."""
        drawn = self._composition.draws_trained(self._counts_as_trained())
        with np.errstate(invalid="ignore"):
            mix: Vector = drawn / drawn.sum()
        return mix

    @property
    def newest_proportions(self) -> Vector:
        """What the newest batch was asked to be, shape ``(num_groups,)``; the data's own mix before the first."""
        newest: Vector = _read_only(self._composition.newest)
        return newest

    @property
    def lag(self) -> int:
        """Batches composed but not yet observed.

        With workers ``prefetch_factor * num_workers`` batches are composed ahead; without workers, none.
        """
        return self._composition.lag

    @property
    def trusted(self) -> bool:
        """Whether each batch is known to be observed, in order; set by ``MixingCallback``."""
        return self._delivery.trusted

    @trusted.setter
    def trusted(self, value: bool) -> None:
        self._delivery.trusted = value

    @property
    def observing(self) -> bool:
        """Whether a batch counts as trained on once observed; else once handed to the loop."""
        return self._observing

    @observing.setter
    def observing(self, value: bool) -> None:
        self._observing = value

    def _sizes(self) -> Any:
        raise NotImplementedError

    def _counts_as_trained(self) -> set[int]:
        """Return the numbers of batches that wait though they count as trained on: the loop never observes."""
        if self._observing or self.mixer.needs_losses:
            return set()
        self._delivery.catch_up()
        return {handed.number for handed in self._delivery.handed}

    @property
    def _observed(self) -> int:
        """Batches, over all epochs."""
        return self._composition.composed - self._composition.lag


def _read_only(array: Any) -> Any:
    view = array.view()
    view.flags.writeable = False
    return view
