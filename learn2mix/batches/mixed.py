"""What a sampler and a stream have in common: a mix, batches composed by it, and losses that come back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from learn2mix.batches.composition import Batch, Composition
from learn2mix.batches.delivery import Delivery
from learn2mix.batches.torch_loader import TorchLoader, batches_fetched_ahead, refuse_second_split
from learn2mix.batches.watching import Watching
from learn2mix.checks import as_proportions, check_seed, check_whole
from learn2mix.feedback.feedback import Feedback
from learn2mix.mixers.base import Mixer, check_mixer, refuse_empty_groups
from learn2mix.mixers.info import MixInfo, takes_info

if TYPE_CHECKING:
    from learn2mix.checks import Vector
    from learn2mix.feedback.processes import Processes

__all__ = ["MixedBatches"]


class MixedBatches(Watching):
    """Composes batches by a mixer's proportions, and brings the losses of each batch back to the mixer.

    Args:
        mixer: decides the proportions.
        prior: the data's own mix, shape ``(num_groups,)``.
        group_names: one name per group.
        batch_size: samples per batch and process, at least 1.
        seed: whole number in [0, 2 ** 64).
        order: ``"shuffled"`` or ``"grouped"``.
        processes: which share each batch.
        sizes: samples of each group, shape ``(num_groups,)``, NaN where unknown.

    Attributes:
        mixer: the mixer.
        batch_size: samples per batch and process.
        last_observed: the batch observed last; None before the first.
        fetch_ahead: batches that the loop fetches before it trains on the first of them; set it where a loop fetches
            another before it has observed all that it has. 0 for a plain loop.
    """

    def __init__(
        self,
        mixer: Mixer,
        prior: Vector,
        group_names: list[Any],
        *,
        batch_size: int,
        seed: int,
        order: Literal["shuffled", "grouped"],
        processes: Processes,
        sizes: Any,
    ) -> None:
        self.batch_size, self.seed = check_whole(batch_size, "batch_size"), check_seed(seed)
        if order not in ("shuffled", "grouped"):
            raise ValueError(f'order must be "shuffled" or "grouped", got {order!r}')
        check_mixer(mixer)
        mixer.attach(prior, group_names, owner=self, sizes=sizes)
        self._tells = mixer.follows_progress and takes_info(mixer.seek, num_others=2)
        self.mixer, self.order = mixer, order
        self.last_observed: Batch | None = None
        self.fetch_ahead = 0
        self._processes, self._prior = processes, prior
        self._composition = Composition(prior)
        self._feedback = Feedback(mixer, group_names, processes)
        self._delivery = Delivery()
        self._observing = False  # whether a batch counts as trained on once observed; else once handed out
        self._iteration = self._first = self._looks = 0  # _first: position where the iteration began
        self._watched = -1  # the iteration whose iterator tells when it is gone
        self._num_unobserved = 0  # whole iterations in a row, of a loop that observes
        self._generation = 0  # of requests: those made before a batch was taken back are out of date
        self._exhausted = self._warned = False
        self._told_epoch = 0
        self._split = (0, 1)  # rank and number of the processes in this iteration; asked for once
        self._announced = -1  # number of the batch drawn last
        self._weighed = (-1, 0)  # number of the batch that had the last weights, and batches handed out by then

    # ------------------------------------------------------------------ iterations

    def _begin(self, loader: TorchLoader | None, *, by_loader: bool = False) -> int:
        """End the iteration before, begin the next, and return its number."""
        self._split = self.rank, self.num_replicas
        refuse_second_split(self._split[1])
        self._leave()
        self._delivery = Delivery(max(self.fetch_ahead, batches_fetched_ahead()), trusted=self.trusted)
        self._delivery.loader, self._delivery.by_loader = loader, by_loader
        self._first, self._exhausted = self._composition.position, False
        self._iteration += 1
        self._generation += 1
        if loader is not None and loader.iterator is not None:
            self._watch(loader.iterator)
        return self._iteration

    def _leave(self) -> None:
        """Take back what was not trained on, and end the epoch unless nothing of it was."""
        self._over(self._iteration)
        if not self._observing and not self._looked():
            self._count_handed()
        self._take_back()
        # Not where a loaded state is in the middle of an epoch: there the epoch goes on.
        if self._composition.position != self._first:
            self._end_epoch()

    def _drop(self, number: int) -> None:
        """Count a batch of which no sample is left as trained on.

        Raises:
            RuntimeError: where other processes have samples of it: their step would wait for this one's for ever.
        """
        if self._split[1] > 1:
            raise RuntimeError(
                f"MixedLoader: no sample of this process's part of batch {number} could be used, while the other "
                "processes train on theirs; mend or leave out these samples, or use a larger batch_size"
            )
        self._delivery.handed.pop()
        self._delivery.num_handed -= 1
        self._composition.mark_trained(number)

    def _end_iteration(self) -> None:
        """End the epoch where the loop has got all its batches and none waits to be observed."""
        if not self._observing and not self.mixer.needs_losses:
            self._count_handed()
        if self._exhausted and not self._composition.waiting and self._composition.position:
            self._end_epoch()

    def _count_handed(self) -> None:
        """Count what the loop has as trained on."""
        self._delivery.catch_up()
        for handed in self._delivery.handed:
            self._composition.mark_trained(handed.number)
        self._delivery.handed.clear()

    def finish_epoch(self) -> None:
        """End the epoch here, if a batch of it was trained on; needed only before its last batch.

        Batches composed ahead are taken back. An iterator made in the middle of an epoch ends that epoch by itself.
        """
        if not self._observing:
            self._count_handed()
        self._delivery = self._delivery.anew()
        self._take_back()
        if self._composition.position > 0:
            self._end_epoch()

    def _take_back(self) -> None:
        self._composition.take_back()
        self._generation += 1

    def _end_epoch(self) -> None:
        self._feedback.end_epoch(self._must_match())
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._composition.begin_epoch()
        self._first = 0

    def _find_mix(self, batch: int, epoch: int) -> Vector:
        if self._tells:
            at = self._composition
            nothing, size = np.zeros(len(self._prior)), self.batch_size * self._split[1]
            told = MixInfo(nothing, at.newest, at.draws, self._sizes(), size, self._feedback.num_updates)
            self.mixer.seek(batch, epoch, told)
        else:
            self.mixer.seek(batch, epoch)
        proportions = self.mixer.proportions
        if getattr(type(self.mixer), "proportions", None) is Mixer.proportions:
            return proportions  # checked when they were assigned, and read-only
        name = f"{type(self.mixer).__name__}.proportions"
        proportions = as_proportions(proportions, len(self._prior), name)
        refuse_empty_groups(proportions, self._prior, self.group_names, name)
        return proportions

    def _announce(self, batch: Batch) -> None:
        """Note that a batch is on its way to the loop."""
        self._announced = batch.number
        for number in self._delivery.draw(batch.number, len(self._prior)):
            self._composition.mark_trained(number)

    # ------------------------------------------------------------------ state

    def _restart(self, state: dict[str, Any]) -> None:
        """Let every iterator so far be out of date, after a state was loaded."""
        self._observing = bool(state["observing"])
        self._delivery = Delivery(trusted=self.trusted)
        self._iteration += 1
        self._generation += 1
        self._first, self._exhausted, self._looks = self._composition.position, False, 0

    def _must_match(self) -> dict[str, int]:
        """What has to be the same on every process: else they draw parts of different batches."""
        if not self._processes.shared:
            return {}
        return self._identity() | {
            "seed": self.seed,
            "batch_size": self.batch_size,
            "epoch": self._composition.epoch,
            "number of batches": self._observed,
        }

    def _identity(self) -> dict[str, int]:
        raise NotImplementedError
