"""Iterations watched: what was left out of them, which were only a look, and which are out of date."""

from __future__ import annotations

import warnings
import weakref
from typing import Any

from learn2mix.batches.observing import Observing
from learn2mix.batches.torch_loader import called_by_trainer

__all__ = ["Watching"]

LOOKS = 2  # next(iter(loader)) in a row that change nothing, in a loop that does not observe


class Watching(Observing):
    """Warns of batches that were handed out and never observed, once that can be known."""

    _iteration: int
    _watched: int  # the iteration whose iterator tells when it is gone
    _num_unobserved: int  # whole iterations in a row, of a loop that observes
    _exhausted: bool
    _warned: bool
    _told_epoch: int  # that a Trainer is about to begin

    def set_epoch(self, epoch: int) -> None:
        """Change nothing: passes and epochs go on by themselves. Scripts for many processes and Trainers call it."""
        self._told_epoch = epoch if called_by_trainer() else 0

    def _warn_if_begun_anew(self) -> None:
        """Warn where a Trainer goes on with a later epoch, and nobody has given back the state from then."""
        told, self._told_epoch = self._told_epoch, 0
        if told > 0 and self._composition.composed == 0 and not self.trusted:
            warnings.warn(
                f"{type(self).__name__}: the Trainer goes on with epoch {told}, but gave back no state, so the batches "
                "of the first epoch come again; pass Trainer(callbacks=[MixingCallback()])",
                stacklevel=4,
            )

    def _looked(self) -> bool:
        """Whether the last iteration was only a look at a batch: next(iter(loader))."""
        self._delivery.catch_up()
        look = self._delivery.num_handed <= 1 and not self._epoch_composed()
        self._looks = self._looks + 1 if look and self._delivery.num_handed else 0 if not look else self._looks
        if look and self._looks == LOOKS + 1:
            warnings.warn(
                f"{type(self).__name__}: next(iter(loader)) for each batch begins an epoch each time; keep the "
                "iterator, batches = iter(loader), and call next(batches)",
                stacklevel=4,
            )
        return look and self._looks <= LOOKS

    def _check_current(self, iteration: int) -> None:
        """Raise a RuntimeError if an iteration is not the newest."""
        if iteration != self._iteration:
            raise RuntimeError(
                "this iterator is out of date: a newer one, or a loaded state, took its place. Where the same data are "
                "iterated within their own epoch (validation on the training loader), make two loaders, each with a "
                "sampler or stream of its own"
            )

    def _exhaust(self) -> None:
        """Note that an iteration gave all its batches."""
        self._exhausted = True
        if self._watched != self._iteration:
            self._over(self._iteration)

    def _watch(self, iterator: Any) -> None:
        """Warn of what was left out, once nobody holds this iterator any more: a loop may observe until then."""
        self._watched = self._iteration
        weakref.finalize(iterator, _call, weakref.WeakMethod(self._gone), self._iteration).atexit = False

    def _gone(self, iteration: int) -> None:
        """Note that nobody holds the iterator; a thread that fetched ahead may be done while the loop is not."""
        if self._delivery.in_main_thread:
            self._over(iteration, left=False)

    def _over(self, iteration: int, *, left: bool = True) -> None:
        """Warn of batches that an iteration handed out and that were never observed; once.

        Args:
            iteration: its number.
            left: whether the loop has left it for another; else it may still observe what it holds in a list.
        """
        delivery = self._delivery
        if iteration != self._iteration or delivery.told or self.trusted:
            return
        left_out = delivery.left_out(self._exhausted)
        delivery.told = left or not self._observing or delivery.num_observed > 0
        if not self._observing:
            self._warn_if_never_observed()
        elif delivery.num_observed:
            self._num_unobserved = 0
            if left_out:
                self._warn_of_left_out(left_out)
        elif left and delivery.num_handed > 1:
            self._num_unobserved += 1
            if self._num_unobserved == LOOKS:
                self._warn_of_left_out(delivery.num_handed)

    def _warn_if_never_observed(self) -> None:
        handed = self._delivery.num_handed
        if self._warned or not self.mixer.needs_losses or handed < 2 or self._delivery.num_observed:
            return
        self._warned = True
        warnings.warn(
            f"{type(self).__name__}: {type(self.mixer).__name__} follows losses, but none of the {handed} batches "
            "handed out was observed, so the mix never moves; call observe(losses) after each step, or under Lightning "
            "pass Trainer(callbacks=[MixingCallback()])",
            stacklevel=4,
        )

    def _warn_of_left_out(self, count: int) -> None:
        warnings.warn(
            f"{type(self).__name__}: {count} batch(es) of the last {self._delivery.num_handed} were never observed. "
            "They will be drawn again, and unless they came last, losses were taken for those of others; call "
            "observe(None) after a batch without losses",
            stacklevel=4,
        )


def _call(method: weakref.WeakMethod[Any], iteration: int) -> None:
    """Call a method of what may be gone."""
    bound = method()
    if bound is not None:
        bound(iteration)
