"""The losses' way back: from the loop to the batch that they are of, and to the mixer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from learn2mix.batches.groups import as_group_numbers
from learn2mix.batches.progress import Progress
from learn2mix.batches.split import own_places, shuffled_order
from learn2mix.feedback.feedback import Drawn, check_group_losses, check_losses
from learn2mix.functional import importance_weights, log_mix
from learn2mix.mixers.mixes import starting_mix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from learn2mix.batches.composition import Batch
    from learn2mix.batches.delivery import Handed
    from learn2mix.checks import Vector

__all__ = ["Observing"]


class Observing(Progress):
    """Takes the losses of the batches that were handed out.

    Attributes:
        seed: of the order within a batch.
        order: ``"shuffled"`` or ``"grouped"``.
        last_observed: the batch observed last; None before the first.
    """

    seed: int
    order: str
    last_observed: Batch | None
    _prior: Vector
    _looks: int
    _split: tuple[int, int]
    _weighed: tuple[int, int]

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
                any device. None says that the batch was trained on but its losses are not known; an update for which
                no losses are known is left out.
            groups: label (name of the group) of each sample that the losses are of, shape ``(num_losses,)``. Then
                neither the number of losses nor their order matters, nor which batch they are of: two views, a batch
                in parts, dropped samples, samples of another loader. Each call still counts one batch as trained on,
                if the loop has any that is not.
            weights: what each sample counts in the mean of its group (tokens), shape as ``losses``, at least 0; None
                counts each as 1.

        Raises:
            ValueError: if no batch is waiting, the length is wrong, a group is unknown, or a loss is negative, NaN or
                infinite (on an accelerator one batch later). The mix stays as it was, and the batch goes on waiting.
            RuntimeError: if a batch before this one was left out, or it is not known which batch the loop has.
        """
        if groups is not None:
            self._observe_groups(losses, groups, weights)
            return
        handed = self._delivery.oldest(failed=losses is None)
        self._refuse_old_snapshot()
        batch = self._composition.find(handed.number)
        if losses is not None:
            members = self._members(batch)
            members = members if handed.kept is None else members[handed.kept]
            self._feedback.add(
                check_losses(losses, len(members)),
                members,
                batch=handed.number,
                weights=None if weights is None else check_losses(weights, len(members)),
            )
        self._mark_observed(self._delivery.observe())

    def _observe_groups(self, losses: Any, groups: Any, weights: Any) -> None:
        self._refuse_old_snapshot()
        numbers = as_group_numbers(groups, self.group_names)
        if losses is not None:
            self._feedback.add(
                check_losses(losses, len(numbers)),
                numbers,
                batch=self._observed,
                weights=None if weights is None else check_losses(weights, len(numbers)),
            )
        for _ in range(self._delivery.left_over()):
            self._mark_observed(self._delivery.observe())
        self._delivery.catch_up()
        if self._delivery.handed:
            self._mark_observed(self._delivery.observe())

    def _mark_observed(self, handed: Handed) -> None:
        batch = self._composition.find(handed.number)
        self._composition.mark_trained(handed.number)
        self._observing, self._looks, self.last_observed = True, 0, batch
        ended = not self._composition.waiting and self._epoch_composed()
        drawn = Drawn(batch.proportions, batch.draws + batch.counts, self._sizes(), self.batch_size * self._split[1])
        self._feedback.step(ended, self._must_match(), drawn)
        if ended:
            self._begin_epoch()

    def _refuse_old_snapshot(self) -> None:
        """Raise a RuntimeError if a loader restored this from a snapshot that lacks losses observed since."""

    def importance_weights(self) -> Tensor:
        """Weights under which the batch being trained on keeps the objective of the data's own mix.

        ``(losses * weights).mean()`` has, on average over the draws, the gradient that batches at the data's own
        proportions have. What a share leaves after whole samples is made up by later batches.

        Returns:
            ``prior / proportions`` for each sample of this process's batch, in its order, shape ``(batch_size,)``,
            float32, on the CPU.

        Raises:
            ValueError: if no batch is waiting, or the mix leaves out a group that has samples.
            RuntimeError: in a loop that does not observe: which batch is trained on is not known then.
        """
        handed = self._delivery.oldest()
        if handed.number == self._weighed[0] and self._delivery.num_handed != self._weighed[1]:
            raise RuntimeError(
                "importance_weights: the batch that had the last weights was never observed; call "
                "observe(losses), or observe(None), after each step"
            )
        self._weighed = handed.number, self._delivery.num_handed
        batch = self._composition.find(handed.number)
        weights = importance_weights(batch.proportions, self._prior)[self._members(batch)]
        return torch.from_numpy(weights if handed.kept is None else weights[handed.kept]).float()

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

    def groups_in_training(self) -> NDArray[np.int64]:
        """Return the number of the group of each sample of this process's part of the batch being trained on."""
        handed = self._in_training()
        members = self._members(self._composition.find(handed.number))
        return members if handed.kept is None else members[handed.kept]

    def _in_training(self) -> Handed:
        """Return the batch being trained on."""
        if self._observing or self.mixer.needs_losses:
            return self._delivery.oldest()
        return self._delivery.newest()

    def observe_validation(self, loss: float | Tensor, group_losses: Tensor | ArrayLike | None = None) -> None:
        """Report the result of a validation run, for mixers that follow it; the same on every process.

        Args:
            loss: mean validation loss; NaN where unknown.
            group_losses: the same for each group, or any score of at least 0 that is larger where more is left to
                learn (1 - recall), shape ``(num_groups,)``, on any device, NaN where unknown.

        Raises:
            ValueError: if there is not one value per group, one is negative or infinite, or the mixer needs them and
                they are None. The mix stays as it was.
        """
        self.mixer.observe_validation(float(loss), check_group_losses(group_losses, len(self._prior)))

    def _own(self, batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
        """Return this process's places in a batch, ascending, and the order in which it gets them; None for as is."""
        rank, num_replicas = self._split
        if num_replicas == 1:
            places = np.arange(int(batch.counts.sum()))
        else:
            places = own_places(batch.counts, batch.draws, rank, num_replicas)
        if self.order == "grouped":
            return places, None
        return places, shuffled_order(len(places), self.seed, batch.number, rank)

    def _members(self, batch: Batch) -> NDArray[np.int64]:
        """Return the number of the group of each sample of this process's part of a batch, in its order."""
        places, order = self._own(batch)
        members: NDArray[np.int64] = np.arange(len(batch.counts)).repeat(batch.counts)[places]
        return members if order is None else members[order]

    def _epoch_composed(self) -> bool:
        """Whether all batches of this epoch are composed."""
        raise NotImplementedError

    def _begin_epoch(self) -> None:
        raise NotImplementedError

    def _must_match(self) -> dict[str, int]:
        raise NotImplementedError
