"""Iterations over a sampler or stream: where they begin and end, and what was left out of them."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

import torch

from learn2mix.batches.composition import Batch
from learn2mix.batches.delivery import Delivery
from learn2mix.batches.lock import locked
from learn2mix.batches.progress import Progress
from learn2mix.batches.resume import load_state
from learn2mix.batches.torch_loader import (
    SEARCH,
    TRAINER,
    LoopsAhead,
    TorchLoader,
    call_if_alive,
    called_by,
    refuse_repeats,
    refuse_second_skip,
    refuse_second_split,
    trained_by_trainer,
)
from learn2mix.feedback.feedback import with_mix

UNVALIDATED = 3  # iterations without a result of validation, in a loop of one's own
LOOKS = 2  # next(iter(loader)) in a row that change nothing, in a loop that does not observe

NEVER_OBSERVED = (
    "{} follows losses, but none of the {} batches handed out was observed, so the mix never moves; call "
    "observe(losses) after each step, or under Lightning pass Trainer(callbacks=[MixingCallback()])"
)
EVALUATED = (
    "an epoch of training data went by without gradients, as for validation or predictions, after one with them. Its "
    "batches are of the mix and in an order of their own: some samples came several times and others not at all, and "
    "where nothing is observed they count as trained on; use DataLoader(dataset, batch_size=...) there"
)
NEVER_VALIDATED = (
    "{} follows the results of validation, but none was reported, so the mix never moves; call "
    "observe_validation(loss, group_losses) after each validation run, or under Lightning pass "
    "Trainer(callbacks=[MixingCallback()])"
)
LEFT_OUT = (
    "{} batch(es) of the last {} were never observed. They will be drawn again, and unless they came last, losses were "
    "taken for those of others; call observe(None) after a batch without losses"
)
OUT_OF_DATE = (
    "this iterator is out of date: a newer one, or a loaded state, took its place. After load_state_dict (back to "
    "before a loss spike) begin a new one: for batch in loader. Where data are iterated within their own epoch "
    "(validation on the training loader), make two loaders, each with a sampler or stream of its own"
)
OTHER_PROCESSES = (
    "{}: this process was rank {} of {} when this iteration began, and is rank {} of {} now, so the batches under way "
    "are split in another way than their processes: begin a new iteration (for batch in loader) in each"
)


class Iterations(Progress):
    """Begins and ends iterations and epochs, and warns of batches that were never observed, once that is known."""

    _had_gradients: bool | None = False  # whether the iteration before began with gradients; None once it was told

    @locked
    def _begin(self, loader: TorchLoader | None, *, by_loader: bool = False) -> int:
        self._split = self._processes.place
        self._processes.warn_if_unknown(type(self).__name__)
        refuse_second_split(type(self).__name__, self._split[1], loader)
        self._delivery.catch_up()
        in_flight = self._composition.lag - len(self._delivery.handed)
        refuse_repeats(type(self).__name__, loader, self._delivery.loader, in_flight)
        of_last = self._delivery.still_held if self.observing else 0
        self._leave()
        refuse_second_skip(type(self).__name__, self._composition.position)
        self._in_trainer, self._without_gradients = called_by(TRAINER), not torch.is_grad_enabled()
        self._renew(Delivery(self.fetch_ahead, loader, by_loader=by_loader, loops=LoopsAhead(), of_last=of_last))
        self._in_search = self._delivery.told = called_by(SEARCH)  # does not observe, and MixingCallback undoes it
        if loader is not None:
            self._watch(loader.iterator)
        self._agreement.compare("run", lambda: with_mix(self.mixer, self._must_match()))
        return self._iteration

    def _go_on_from(self, state: dict[str, Any]) -> None:
        """Load what both kinds of state hold, and let every iterator so far be out of date."""
        load_state(self, state)
        self.observing, self._split = bool(state["observing"]), self._processes.place
        self._renew(Delivery())
        self._looks, self.lacks_losses, self._lock.broken = 0, bool(state.get("lacks_losses")), False

    def _renew(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._iteration += 1
        self._generation += 1
        self._first, self._exhausted = self._composition.position, False

    def _leave(self) -> None:
        """Take back what was not trained on, and end the epoch unless nothing of it was."""
        self._over(self._iteration)
        if not self.observing and not self._looked():
            self._count_handed()
        self._take_back()
        # Not where a loaded state is in the middle of an epoch: there the epoch goes on.
        if self._composition.position != self._first:
            self._end_epoch()

    @locked
    def _end_iteration(self, iteration: int) -> None:
        """End the epoch where the loop has got all its batches and none waits to be observed."""
        self._check_current(iteration)
        if not self.observing and not self.mixer.needs_losses:
            self._count_handed(ended=True)
        if self._exhausted and not self._composition.waiting and self._composition.position:
            self._end_epoch()

    @locked
    def finish_epoch(self) -> None:
        """End the epoch here, if a batch of it was trained on; needed only before its last batch.

        Batches composed ahead are taken back. An iterator made in the middle of an epoch ends that epoch by itself.
        """
        if not self.observing:
            self._count_handed()
        self._warn_if_evaluated(self._iteration)
        self._delivery = Delivery(self._delivery.fetch_ahead, by_loader=self._delivery.by_loader)
        self._take_back()
        if self._composition.position > 0:
            self._end_epoch()

    def _count_handed(self, *, ended: bool = False) -> None:
        """Count what the loop has as trained on, and what it skipped before it."""
        self._delivery.catch_up(lost=True)
        for number in [handed.number for handed in self._delivery.handed] if ended else self._had():
            self._mark_trained(number)
        self._delivery.handed.clear()

    def _take_back(self) -> None:
        self._composition.take_back()
        self._generation += 1

    def _end_epoch(self) -> None:
        self._feedback.end_epoch()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._composition.begin_epoch()
        self._first = 0

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: passes and epochs go on by themselves. Trainers and scripts for many processes call it."""
        self._trained_before = trained_by_trainer()

    def _warn_if_begun_anew(self) -> None:
        """Warn where a Trainer goes on after a stop, and nobody has given back the state from then."""
        before, self._trained_before = self._trained_before, 0
        if before > 0 and self._composition.composed == 0 and not self.trusted:
            self._warn(
                f"the Trainer goes on after {before} batches, but gave back no state, so the batches of the first "
                "epoch come again; pass Trainer(callbacks=[MixingCallback()])"
            )

    def _looked(self) -> bool:
        """Whether the last iteration was only a look at a batch: next(iter(loader))."""
        look = self._got_one_of_several()
        self._looks = self._looks + (self._delivery.num_handed > 0) if look else 0
        if look and self._looks == LOOKS + 1:
            self._warn(
                "next(iter(loader)) for each batch begins an epoch each time; keep the iterator, batches = "
                "iter(loader), and call next(batches)"
            )
        return look and self._looks <= LOOKS

    def _got_one_of_several(self) -> bool:
        """Whether the loop trained on at most one batch of this iteration, and the epoch has more than it fetched."""
        self._delivery.catch_up()
        handed, of_one = self._delivery.num_handed, 1 + self._delivery.fetch_ahead
        return handed <= of_one and (self._composition.lag > handed or not self._epoch_composed())

    @property
    @locked
    def num_unobserved(self) -> int:
        """Batches that the loop has to train on and has not observed; 1 in a training step of a plain loop."""
        self._delivery.catch_up()
        return max(len(self._delivery.handed) - self._delivery.fetch_ahead, 0)

    def _check_current(self, iteration: int) -> None:
        """Raise a RuntimeError if an iteration is not the newest, or its batches are split for other processes."""
        if iteration != self._iteration:
            raise RuntimeError(OUT_OF_DATE)
        if self._split[1] > 1 and self._split != (now := self._processes.place):
            raise RuntimeError(OTHER_PROCESSES.format(type(self).__name__, *self._split, *now))

    def _announce(self, batch: Batch) -> None:
        """Note that a batch is on its way; warn once so many were never observed that the first are forgotten."""
        self._announced = batch.number
        for number in (forgotten := self._delivery.draw(batch.number, len(self._prior))):
            self._mark_trained(number)
        if forgotten and not self.trusted:
            self._warn_if_never_observed()

    def _watch(self, iterator: Any) -> None:
        """Warn of what was left out, once nobody holds this iterator any more: a loop may observe until then."""
        weakref.finalize(iterator, call_if_alive, weakref.WeakMethod(self._gone), self._iteration).atexit = False

    def _gone(self, iteration: int) -> None:
        """Note that nobody holds the iterator; a thread that fetched ahead may be done while the loop is not."""
        if self._delivery.in_main_thread:
            self._over(iteration, left=False)

    def _over(self, iteration: int, *, left: bool = True) -> None:
        """Warn, once, of batches never observed; a loop that has not ``left`` yet may still observe what it holds."""
        delivery = self._delivery
        self._warn_if_evaluated(iteration)
        if iteration != self._iteration or delivery.told or self.trusted:
            return
        waits = not left and delivery.fetch_ahead > 0
        left_out = delivery.left_out(self._exhausted and not waits)
        delivery.told = left or not self.observing or (delivery.num_observed > 0 and (left_out > 0 or not waits))
        if delivery.told:
            self._warn_if_never_validated()
        if not self.observing:
            self._warn_if_never_observed()
        elif delivery.num_observed:
            self._num_unobserved = 0
            if left_out:
                self._warn(LEFT_OUT.format(left_out, delivery.num_handed))
        elif left and delivery.num_handed and not self._got_one_of_several():
            self._num_unobserved += 1
            if self._num_unobserved == LOOKS:
                self._warn(LEFT_OUT.format(delivery.num_handed, delivery.num_handed))

    def _warn_if_evaluated(self, iteration: int) -> None:
        if iteration == self._iteration and self._delivery.num_handed > 1 and self._had_gradients is not None:
            told = self._without_gradients and (self._had_gradients or self.observing)
            self._had_gradients = None if told else not self._without_gradients
            if told:
                self._warn(EVALUATED)

    def _warn_if_never_observed(self) -> None:
        if self._warned or not self.mixer.needs_losses or self._delivery.num_observed or self._got_one_of_several():
            return
        handed = self._observed - self._delivery.num_forgotten + self._delivery.num_handed
        if handed >= 2:  # an epoch may have only one
            self._warned = True
            self._warn(NEVER_OBSERVED.format(type(self.mixer).__name__, handed))

    def _warn_if_never_validated(self) -> None:
        if self._validated or getattr(self.mixer, "needs_validation", None) is None or self._delivery.num_handed < 2:
            return
        self._num_unvalidated += 1
        if self._num_unvalidated == (1 if self._in_trainer else UNVALIDATED):
            self._warn(NEVER_VALIDATED.format(type(self.mixer).__name__))

    def _warn(self, text: str) -> None:
        warnings.warn(f"{type(self).__name__}: {text}", stacklevel=5)
