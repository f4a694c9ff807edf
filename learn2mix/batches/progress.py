"""The parts of a sampler or stream, and what they tell: who shares its batches, and how far it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from learn2mix.batches.composition import Batch, Composition
from learn2mix.batches.delivery import Delivery
from learn2mix.batches.lock import Lock, locked
from learn2mix.batches.recorder import AT_LEAST_EVERY, MOST_HEARD, Recorder, Row
from learn2mix.batches.settled import checked, passed_on, settled
from learn2mix.checks import Counts, Vector, check_seed, check_whole, frozen
from learn2mix.feedback.agreement import Agreement
from learn2mix.feedback.feedback import Feedback
from learn2mix.feedback.pending import MADE_OF
from learn2mix.feedback.processes import Processes
from learn2mix.history import History
from learn2mix.mixers.base import Mixer, check_mixer
from learn2mix.mixers.info import takes_info


class Progress:
    """The state that a sampler and a stream have in common; the arguments are explained there."""

    mixer: Mixer = settled("mixer", "Decides the proportions.")
    seed: int = settled("seed", "Of the draws; after a state was loaded, that of the state.")
    order: str = settled("order", "Of the samples in a batch.")
    batch_size: int = checked("batch_size", check_whole, "Samples per batch and process; may be set for later batches.")

    def __init__(
        self,
        mixer: Mixer,
        prior: Vector,
        group_names: list[Any],
        *,
        batch_size: int,
        seed: int,
        order: str,
        processes: Processes,
        sizes: Any,
    ) -> None:
        self.batch_size, self._seed = batch_size, check_seed(seed)
        if order not in ("shuffled", "grouped"):
            raise ValueError(f'order must be "shuffled" or "grouped", got {order!r}')
        check_mixer(mixer)
        mixer.attach(prior, group_names, owner=self, sizes=sizes)
        self._seeks = getattr(type(mixer), "seek", None) is not Mixer.seek
        self._tells = mixer.follows_progress and takes_info(mixer.seek, num_others=2)
        # Then they are checked when they are assigned, and read-only.
        self._checked = getattr(type(mixer), "proportions", None) is Mixer.proportions
        self._mix_of_batches = mixer.follows_progress or not self._checked  # what the history tells of
        self._moved_by_losses = mixer.needs_losses and not self._mix_of_batches  # and by nothing else
        self._mixer, self._order = mixer, order
        self._last_observed: Batch | None = None
        self.observing = False  # whether a batch counts as trained on once observed; else once handed to the loop
        self.trusted = False  # whether each batch is known to be observed, in order; set by MixingCallback
        self.lacks_losses = False  # whether a loader restored a snapshot that lacks losses observed since
        # Batches that the loop fetches before it trains on the first of them; for the user to set where a loop fetches
        # another before it has observed all that it has. 0 for a plain loop.
        self.fetch_ahead = 0
        self._lock = Lock()  # of whoever composes, hands out or observes a batch, or asks for what all of them change
        self._processes, self._prior = processes, prior
        self._composition = Composition(prior)
        self._recorder = Recorder(len(prior), None if mixer.needs_losses else AT_LEAST_EVERY)
        listens = {"hear": self._recorder.hear} if len(prior) <= MOST_HEARD else {}
        self._feedback = Feedback(mixer, group_names, processes, **listens)
        self._agreement = Agreement(processes, mixer, type(self).__name__)
        self._delivery = Delivery()  # of this iteration
        self._in_order = True  # whether the loop gets batches in the order in which they were composed
        self._split = (0, 1)  # rank and number of the processes in this iteration; asked for once
        self._own_of: tuple[Batch | None, Any, Any] = (None, None, None)  # a batch, our places and their order
        self._iteration = self._first = 0  # number of it, and position in the epoch where it began
        self._exhausted = False  # whether it gave all its batches
        self._generation = 0  # of requests: those made before a batch was taken back are out of date
        self._announced = -1  # number of the batch drawn last
        self._looks = 0  # iterations in a row that took one batch, in a loop that does not observe
        self._num_unobserved = 0  # whole iterations in a row, of a loop that observes
        self._warned = False  # that nothing is observed though the mixer follows losses
        self._trained_before = 0  # batches that a Trainer had before the epoch that it is about to begin
        self._in_trainer = self._in_search = self._without_gradients = False  # how this iteration began
        self._validated = False  # whether a result of validation ever came
        self._num_unvalidated = 0  # iterations before the first

    rank: int = passed_on("_processes.rank", "Which of the processes that share each global batch this is.")
    num_replicas: int = passed_on("_processes.num_replicas", "How many processes share each global batch.")

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
        return frozen(self._composition.draws.view())

    @property
    def passes(self) -> Vector:
        """Passes over each group so far, samples drawn per sample that it has, shape ``(num_groups,)``.

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
    @locked
    def realised(self) -> Vector:
        """The mix of all batches trained on so far, shape ``(num_groups,)``; NaN before the first."""
        drawn = self._so_far()[0].draws_trained
        with np.errstate(invalid="ignore"):
            mix: Vector = drawn / drawn.sum()
        return mix

    @property
    @locked
    def history(self) -> History:
        """What the batches trained on so far were asked to be and were, at each update of the mix."""
        at, recorder = self._so_far()
        newest, draws, credit, step = at.newest, at.draws, at.credit, at.composed
        if at.waiting:
            batch = at.waiting[0]
            newest, draws, credit, step = batch.proportions, batch.draws, batch.credit, batch.number
        mix = newest if self._mix_of_batches else self.mixer.proportions
        return recorder.history(
            Row(step, at.lag if self.observing else 0, mix, draws, credit),
            names=self.group_names,
            sizes=self._sizes(),
            batch_size=self.global_batch_size,
        )

    @property
    def last_observed(self) -> Batch | None:
        """The batch observed last, None before the first; its arrays are read-only."""
        for value in self._last_observed or ():
            if isinstance(value, np.ndarray):
                frozen(value)
        return self._last_observed

    @property
    def newest_proportions(self) -> Vector:
        """The mix that was asked of the newest batch, shape ``(num_groups,)``; the data's own before the first."""
        return frozen(self._composition.newest.view())

    @property
    def lag(self) -> int:
        """Batches composed but not yet observed.

        With workers ``prefetch_factor * num_workers`` batches are composed ahead; without workers, none.
        """
        return self._composition.lag

    @property
    def _observed(self) -> int:
        """Batches, over all epochs."""
        return self._composition.composed - self._composition.lag

    def _so_far(self) -> tuple[Composition, Recorder]:
        """Return how far the run is and what was written down; what a loop that never observes has, it trained on."""
        if self.observing or self.mixer.needs_losses:
            return self._composition, self._recorder
        at, left = self._composition.as_if_trained(self._had())
        recorder = self._recorder.copy()
        for batch in left:
            self._note(recorder, batch)
        return at, recorder

    def _had(self) -> list[int]:
        """Return what a loop that observes nothing has trained on: not what it fetched ahead, until it has got all."""
        delivery = self._delivery
        delivery.catch_up()
        got_all = self._exhausted and not delivery.in_flight and not delivery.by_loader
        num_had = len(delivery.handed) - (0 if got_all else delivery.fetch_ahead)
        return [handed.number for handed in delivery.handed][: max(num_had, 0)]

    def _mark_trained(self, number: int) -> None:
        """Count a batch that waits as trained on, and write down what leaves."""
        for batch in self._composition.mark_trained(number):
            num_updates = self._feedback.num_updates
            if not self._moved_by_losses:
                self._note(self._recorder, batch)
            elif num_updates >= self._recorder.next_row:
                self._recorder.add_row(batch, self.mixer.proportions, self._composition.lag, num_updates)

    def _note(self, recorder: Recorder, batch: Batch) -> None:
        mix = batch.proportions if self._mix_of_batches else self.mixer.proportions
        recorder.note(batch, mix, self._composition.lag if self.observing else 0)

    def _must_match(self) -> dict[str, int]:
        """What has to be the same on every process: else they draw parts of different batches."""
        made_of = self._last_observed.checksum if self._last_observed is not None and self._in_order else 0
        given = self._identity() | {"seed": self.seed, "batch_size": self.batch_size}
        return given | {"epoch": self._composition.epoch, "number of batches": self._observed, MADE_OF: made_of}

    def _sizes(self) -> Any:
        """Return the samples of each group, shape ``(num_groups,)``; NaN where unknown."""
        raise NotImplementedError

    def _identity(self) -> dict[str, int]:
        """Return what tells the data from others."""
        raise NotImplementedError

    def _epoch_composed(self) -> bool:
        """Whether all batches of this epoch are composed."""
        raise NotImplementedError
