"""What a sampler and a stream have in common: a mix, batches composed by it, and losses that come back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from learn2mix.batches.composition import Batch
from learn2mix.batches.delivery import Handed
from learn2mix.batches.iterations import Iterations
from learn2mix.batches.lock import locked
from learn2mix.batches.split import group_after_group, own_places, shuffled_order
from learn2mix.checks import Counts, Vector, as_proportions, frozen, on_the_host
from learn2mix.feedback.group_losses import check_losses, check_validation, check_weights
from learn2mix.feedback.pool import Drawn
from learn2mix.functional import importance_weights, log_mix
from learn2mix.labels import as_plain, as_tuples
from learn2mix.mixers.info import MixInfo, call
from learn2mix.mixers.mixes import refuse_empty_groups, refuse_unknown, starting_mix


class MixedBatches(Iterations):
    """Composes batches by a mixer's proportions, and brings the losses of each batch back to the mixer."""

    _knows_length = True  # then an epoch ends as its last batch is observed, else once the loop asks for another

    @locked
    def observe(
        self,
        losses: Tensor | ArrayLike | None,
        *,
        groups: Sequence[Any] | ArrayLike | None = None,
        weights: Tensor | ArrayLike | None = None,
    ) -> None:
        """Report the losses of the oldest batch that the loop has and has not observed yet.

        Args:
            losses: loss of each sample of this process's batch, in its order, shape ``(batch_size,)``, at least 0; on
                any device. None says that the batch was trained on but its losses are not known.
            groups: label (name of the group) of each sample that the losses are of, shape ``(num_losses,)``. Then they
                may be any number, in any order, of any batch: two views, dropped samples, samples of another loader.
                Each call still counts one batch as trained on, if the loop has any that is not.
            weights: what each sample counts in the mean of its group (tokens), shape as ``losses``, at least 0; None
                counts each as 1.

        Raises:
            ValueError: if no batch is waiting, the length is wrong, a group is unknown, or a loss is negative, NaN or
                infinite (on an accelerator one batch later). The mix stays as it was, and the batch goes on waiting.
            RuntimeError: if a batch before this one was left out, or it is not known which batch the loop has.
        """
        if self.lacks_losses:
            self._delivery.told = True
            raise RuntimeError(
                "the state of a StatefulDataLoader, or of torchdata.nodes, was loaded; its workers or threads had it "
                "saved when a batch was composed, so it lacks the losses observed since: save and load "
                "sampler.state_dict(), and not the loader's"
            )
        if groups is None:
            handed = self._delivery.oldest(failed=losses is None, trusted=self.trusted)
            if losses is not None:
                if self._split[1] > 1:
                    self._processes.warn_if_unknown(type(self).__name__, losses=self.mixer.needs_losses)
                batch = self._composition.find(handed.number)
                whole = handed.kept is None and weights is None and self._split[1] == 1
                self._add(losses, weights, self._members(batch, handed), batch.number, batch.counts if whole else None)
            self._mark_observed()
            return
        members = as_group_numbers(groups, self.group_names, losses)
        if losses is not None:
            self._add(losses, weights, members, self._observed)
        for _ in range(self._delivery.left_over()):
            self._mark_observed()
        if self._delivery.handed:
            self._mark_observed()
        else:
            self._feedback.keep()

    def _add(
        self, losses: Any, weights: Any, members: NDArray[np.int64], number: int, counts: Counts | None = None
    ) -> None:
        losses = check_losses(losses, len(members), by_callback=self.trusted, held=len(self._delivery.handed))
        weights = None if weights is None else check_weights(weights, len(members))
        self._feedback.add(losses, members, batch=number, weights=weights, counts=counts)

    def _mark_observed(self) -> None:
        batch = self._last_observed = self._composition.find(self._delivery.observe().number)
        self.observing, self._looks = True, 0
        self._mark_trained(batch.number)
        ended = self._knows_length and not self._composition.waiting and self._epoch_composed()
        told = Drawn(batch.proportions, batch.drawn, self._sizes(), self.batch_size * self._split[1])
        self._feedback.step(ended, self._must_match, told)
        if ended:
            self._begin_epoch()

    @locked
    def importance_weights(self) -> Tensor:
        """Return weights for the batch being trained on that keep the objective of the data's own mix.

        ``(losses * weights).mean()`` has, on average over the draws, the gradient that batches at the data's own
        proportions have.

        Returns:
            ``prior / proportions`` for each sample of this process's batch, in its order, shape ``(batch_size,)``,
            float32, on the CPU.

        Raises:
            ValueError: if no batch is waiting, or the mix leaves out a group that has samples.
            RuntimeError: in a loop that does not observe, for then nobody knows which batch it trains on.
        """
        handed = self._delivery.in_training("importance_weights", trusted=self.trusted)
        batch = self._composition.find(handed.number)
        weights = importance_weights(batch.proportions, self._prior)
        return torch.from_numpy(weights[self._members(batch, handed)]).float()

    @locked
    def log_mix(self, target: ArrayLike | str | None = "uniform") -> Tensor:
        """Return what to add to the logits so that training at any mix aims at the classifier of one.

        ``F.cross_entropy(logits + sampler.log_mix(), labels)``; :class:`learn2mix.MixAdjustedLoss` does it. The mix is
        that of the batch being trained on: the oldest that the loop has and has not observed, or, in a loop that does
        not observe, the newest that it has. Ask before ``observe``.

        Args:
            target: the mix that the classifier is for, as :class:`learn2mix.FixedMix` takes it: ``"uniform"`` for the
                balanced error, None for the data's own mix.

        Returns:
            :func:`learn2mix.functional.log_mix` of that batch, one value per group in the order of ``group_names``,
            shape ``(num_groups,)``, float32, on the CPU; ``-inf`` leaves a class out of the softmax.

        Raises:
            ValueError: if no batch is waiting, or ``target`` is no mix of these groups.
            RuntimeError: if it is not known which batch the loop trains on.
        """
        batch = self._composition.find(self._in_training().number)
        wanted = starting_mix(target, self._prior, "target", self.group_names)
        return torch.from_numpy(log_mix(batch.proportions, wanted, batch.counts)).float()

    @locked
    def groups_in_training(self) -> NDArray[np.int64]:
        """Return the number of the group of each sample of this process's part of the batch being trained on."""
        handed = self._in_training()
        return self._members(self._composition.find(handed.number), handed)

    def _in_training(self) -> Handed:
        if self._in_search:
            return self._delivery.newest(in_search=True)
        if self.observing or self.mixer.needs_losses:
            return self._delivery.in_training("log_mix", trusted=self.trusted)
        return self._delivery.newest(moves=self._mix_of_batches)

    @locked
    def observe_validation(self, loss: float | Tensor, group_losses: Tensor | ArrayLike | None = None) -> None:
        """Report the result of a validation run, for mixers that follow it; the same on every process.

        Args:
            loss: mean validation loss; NaN where unknown.
            group_losses: the same for each group, or any score of at least 0 that is larger where more is left to
                learn (1 - recall), shape ``(num_groups,)`` or by name, on any device, NaN where unknown.

        Raises:
            ValueError: if there is not one value per group, one is negative or infinite, or the mixer needs them and
                they are None. The mix stays as it was.
        """
        self._validated = True
        call(self.mixer.observe_validation, *check_validation(loss, group_losses, self.group_names))

    def _own(self, batch: Batch) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Return this process's places in a batch, ascending, and the order in which it gets them; None for as is."""
        if batch is self._own_of[0]:  # asked for before: for its samples, and now for their groups
            return self._own_of[1:]
        rank, num_replicas = self._split
        places = own_places(batch.counts, batch.draws, rank, num_replicas) if num_replicas > 1 else None
        order = None
        if self.order == "shuffled":
            order = shuffled_order(batch.size if places is None else len(places), self.seed, rank, batch.number)
        self._own_of = batch, places, order
        return places, order

    def _of_own(self, values: NDArray[Any], batch: Batch) -> NDArray[Any]:
        """Return, of one value for each sample of a batch, group after group, those of this process in its order."""
        places, order = self._own(batch)
        values = values if places is None else values[places]
        return values if order is None else values[order]

    def _members(self, batch: Batch, handed: Handed) -> NDArray[np.int64]:
        """Return the number of the group of each sample that this process has of a batch, in its order."""
        members = self._of_own(group_after_group(batch.counts), batch)
        return members if handed.kept is None else members[handed.kept]

    def _find_mix(self, batch: int, epoch: int) -> Vector:
        if self._tells:
            mix, draws = frozen(self._composition.newest), frozen(self._composition.draws)
            nothing, size, done = np.zeros(len(mix)), self.batch_size * self._split[1], self._feedback.num_updates
            call(self.mixer.seek, batch, epoch, info=MixInfo(frozen(nothing), mix, draws, self._sizes(), size, done))
        elif self._seeks:
            call(self.mixer.seek, batch, epoch)
        if self._checked:
            return self.mixer.proportions
        name = f"{type(self.mixer).__name__}.proportions"
        proportions = as_proportions(self.mixer.proportions, len(self._prior), name)
        refuse_empty_groups(proportions, self._prior, self.group_names, name)
        return proportions

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
        self._mark_trained(number)


def as_group_numbers(labels: Any, group_names: list[Any], losses: Any = None) -> NDArray[np.int64]:
    """Return the number of the group of each sample, given the name of it; waits for a tensor on an accelerator.

    Raises:
        ValueError: if they are not 1-D, one is the name of no group, or there are more or fewer of them than losses.

    Example:
        >>> as_group_numbers(["dog", "cat", "dog"], ["cat", "dog"])
        array([1, 0, 1])
    """
    labels = on_the_host(labels, "groups")
    numbers = {name: number for number, name in enumerate(group_names)}
    count = len(losses) if hasattr(losses, "__len__") and getattr(losses, "ndim", 1) != 0 else None
    inverse: Any = slice(None)
    if any(isinstance(name, tuple) for name in group_names):
        names = as_tuples(labels, count)
    else:
        array = np.asarray(labels)
        if array.dtype.kind == "U" and isinstance(labels, (list, tuple)):  # of an Enum: NumPy takes other names
            array = np.asarray([as_plain(label) for label in labels])
        if array.ndim != 1:
            raise ValueError(f"groups must be one label per loss, 1-D, got shape {array.shape}")
        names = array.tolist()
        if array.dtype != object:
            unique, inverse = np.unique(array, return_inverse=True)
            names = unique.tolist()
    refuse_unknown(names, group_names, "groups")
    found: NDArray[np.int64] = np.array([numbers[name] for name in names], dtype=np.int64)[inverse]
    if count not in (None, len(found)):
        raise ValueError(f"groups must be one label per loss, got {len(found)} for {count} losses")
    return found
