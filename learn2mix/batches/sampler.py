"""Batches of map-style data, composed one at a time by the mix of the moment."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Sampler

from learn2mix.batches.composition import ComposedBatch, Composition
from learn2mix.batches.iterator import BatchIterator
from learn2mix.batches.passes import Passes
from learn2mix.checks import as_proportions, check_seed, check_whole
from learn2mix.feedback.feedback import Feedback, check_group_losses, check_losses
from learn2mix.feedback.processes import Processes
from learn2mix.functional import importance_weights
from learn2mix.mixers.base import Mixer, check_mixer, refuse_empty_groups
from learn2mix.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from learn2mix.checks import Counts, Vector

__all__ = ["MixedBatchSampler"]

STATE_VERSION = 1


class MixedBatchSampler(Sampler[list[int]]):
    """Composes each batch by a mixer's proportions, from reshuffled passes over each group.

    Every batch holds exactly ``batch_size`` samples, group after group. Shares too small for a whole sample are
    carried to later batches (:func:`learn2mix.functional.apportion_owed` states the bound). No sample of a group comes
    twice before all have come once; passes go on across epochs.

    A batch counts as trained on once its losses are observed. Batches that were composed ahead of that (by the workers
    of a ``DataLoader``) belong to the state, and if an epoch is left early they are composed anew. A loop that never
    observes is fine with a mixer that needs no losses: then a batch counts as trained on once it is drawn.

    Args:
        groups: a :class:`Partition`, or the label of each sample, shape ``(num_samples,)``; at least 2 groups.
        mixer: decides the proportions; one a sampler.
        batch_size: samples a batch and process, at least 1.
        num_batches: batches an epoch: a number, or as many as are filled (the last one included) by the ``"smallest"``
            group that has samples, by the ``"largest"``, or, with None, by all the data.
        seed: whole number in [0, 2 ** 64); the same seed gives the same batches.
        num_replicas: how many processes share each global batch; None asks ``torch.distributed``, which is also what
            sums their losses: without it, the mix follows those of this process alone.
        rank: which of them this is; None asks ``torch.distributed``.

    Raises:
        ValueError: if there are fewer than 2 groups, or a number is out of range.
        TypeError: if ``labels`` are neither integers nor strings, a number is not whole, or ``mixer`` is no mixer.

    Example:
        >>> from learn2mix import FixedMix
        >>> sampler = MixedBatchSampler(["cat"] * 6 + ["dog"] * 2, FixedMix("uniform"), batch_size=4)
        >>> [sorted(batch) for batch in sampler]
        [[0, 3, 6, 7], [1, 4, 6, 7]]
    """

    def __init__(
        self,
        groups: Partition | Sequence[int] | Sequence[str] | ArrayLike,
        mixer: Mixer,
        *,
        batch_size: int,
        num_batches: int | str | None = None,
        seed: int = 0,
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        self.batch_size = check_whole(batch_size, "batch_size")
        self._num_batches = _check_num_batches(num_batches)
        self._processes = Processes(num_replicas, rank)
        self.seed = check_seed(seed)
        self.partition = groups if isinstance(groups, Partition) else Partition.by_class(groups)
        if self.partition.num_groups < 2:
            raise ValueError(f"groups must be at least 2 to be mixed, got {self.partition.num_groups}")
        check_mixer(mixer)
        mixer.attach(self.partition.proportions, self.partition.group_names)
        self.mixer = mixer
        self._passes = Passes(self.partition, self.seed)
        self._feedback = Feedback(mixer, self.partition.group_names, self._alike)
        self._composition = Composition(self.partition.proportions)
        self._group_numbers = np.arange(self.partition.num_groups)
        self._iteration = 0
        self.lacks_losses = False  # restored by a loader, from a snapshot older than the losses observed since
        self.last_observed: ComposedBatch | None = None
        self._weighed: tuple[ComposedBatch | None, int] = (None, 0)  # and how many batches were composed by then

    # ------------------------------------------------------------------ batches

    def __len__(self) -> int:
        """Batches an epoch."""
        if isinstance(self._num_batches, int):
            return self._num_batches
        sizes = self.partition.sizes[self.partition.sizes > 0]
        to_fill = {"smallest": sizes.min(), "largest": sizes.max(), None: sizes.sum()}[self._num_batches]
        return -(-int(to_fill) // self.global_batch_size)

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
        """Samples a batch, over all processes."""
        return self.batch_size * self.num_replicas

    @property
    def group_names(self) -> list[Any]:
        """One name a group."""
        return self.partition.group_names

    @property
    def group_losses(self) -> Vector:
        """Mean loss of each group at the last update, shape ``(num_groups,)``, NaN where unknown."""
        return self._feedback.group_losses

    @property
    def realised(self) -> Vector:
        """The mix of all batches trained on so far, shape ``(num_groups,)``; NaN before the first."""
        trained_on = self._composition.trained_on
        with np.errstate(invalid="ignore"):
            mix: Vector = trained_on / trained_on.sum()
        return mix

    @property
    def draws(self) -> Counts:
        """Samples drawn of each group so far, over all processes, shape ``(num_groups,)``."""
        return self._composition.draws

    @property
    def newest_proportions(self) -> Vector:
        """What the newest batch was asked to be, shape ``(num_groups,)``; the data's own mix before the first."""
        return self._composition.newest

    @property
    def lag(self) -> int:
        """Batches composed but not yet observed.

        A ``DataLoader`` composes ``prefetch_factor * num_workers`` batches ahead; without workers, none.
        """
        return self._composition.lag

    @property
    def observing(self) -> bool:
        """Whether a batch counts as trained on once observed; else once drawn."""
        return self._composition.observing

    @observing.setter
    def observing(self, value: bool) -> None:
        self._composition.observing = value

    def __iter__(self) -> Iterator[list[int]]:
        """Begin the next epoch, or go on with one that a loaded state was in the middle of."""
        at = self._composition
        if self.lag == len(self) and self.mixer.needs_losses and not self.observing:
            self._warn_of_no_losses()
        at.take_back()
        # Not where a loaded state is in the middle of an epoch: there the epoch goes on.
        if at.position != at.first or at.position == len(self):
            self._end_epoch()
        at.begin_iteration()
        self._iteration += 1
        return BatchIterator(self, self._batches(self._iteration))

    def _batches(self, iteration: int) -> Iterator[list[int]]:
        rank, num_replicas = self.rank, self.num_replicas
        for position in range(self._composition.first, len(self)):
            if iteration != self._iteration:
                raise RuntimeError("this iterator is out of date: a newer one, or a loaded state, took its place")
            batch = self._composition.compose(position, self.global_batch_size, self._find_mix)
            yield self._passes.draw(batch.draws, batch.counts, rank, num_replicas)

    def _find_mix(self, batch: int, epoch: int) -> Vector:
        self.mixer.seek(batch, epoch)
        return self._checked(self.mixer.proportions)

    def _checked(self, proportions: Vector) -> Vector:
        if getattr(type(self.mixer), "proportions", None) is Mixer.proportions:
            return proportions  # checked when they were assigned, and read-only
        name = f"{type(self.mixer).__name__}.proportions"
        proportions = as_proportions(proportions, self.partition.num_groups, name)
        refuse_empty_groups(proportions, self.partition.proportions, self.partition.group_names, name)
        return proportions

    # ------------------------------------------------------------------ losses

    def observe(self, losses: Tensor | ArrayLike | None) -> None:
        """Report the losses of the oldest batch not yet observed.

        Args:
            losses: loss of each sample of this process's batch, in its order, shape ``(batch_size,)``, at least 0; on
                any device. None says that the batch was trained on but its losses are not known; an update for which
                no losses are known is left out.

        Raises:
            ValueError: if no batch is waiting, the length is wrong, or a loss is negative, NaN or infinite (on an
                accelerator one batch later). The mix stays as it was, and the batch goes on waiting.
            RuntimeError: if a batch before this one was left out, or a ``StatefulDataLoader`` with workers has restored
                this sampler.
        """
        batch = self._composition.oldest()
        self._composition.check_order()
        if self.lacks_losses:
            raise RuntimeError(
                "the state of a StatefulDataLoader was loaded; its workers had it saved when a batch was composed, "
                "so it lacks the losses observed since: save and load sampler.state_dict(), and not the loader's"
            )
        if losses is not None:
            self._add_losses(batch, check_losses(losses, self.batch_size))
        self._composition.take()
        self.last_observed = batch
        epoch_ended = batch.position + 1 == len(self)
        self._feedback.step(self.num_replicas, epoch_ended)
        if epoch_ended:
            self._composition.begin_epoch()

    def importance_weights(self) -> Tensor:
        """Weights under which the oldest batch not yet observed keeps the objective of the data's own mix.

        ``(losses * weights).mean()`` has, on average over the draws, the gradient that batches at the data's own
        proportions have. What a share leaves after whole samples is made up by later batches.

        Returns:
            ``prior / proportions`` for each sample of this process's batch, in its order, shape ``(batch_size,)``,
            float32, on the CPU.

        Raises:
            ValueError: if no batch is waiting, or the mix leaves out a group that has samples.
            RuntimeError: in a loop that does not observe: which batch is trained on is not known then.
        """
        batch, composed = self._composition.oldest(), self._composition.composed
        if batch is self._weighed[0] and composed != self._weighed[1]:
            raise RuntimeError(
                "importance_weights: the batch that had the last weights was never observed; call "
                "observe(losses), or observe(None), after each step"
            )
        self._weighed = batch, composed
        weights = importance_weights(batch.proportions, self.partition.proportions)
        return torch.from_numpy(weights[self._groups_of(batch)]).float()

    def observe_validation(self, loss: float | Tensor, group_losses: Tensor | ArrayLike | None = None) -> None:
        """Report the result of a validation run, for mixers that follow it; the same on every process.

        Args:
            loss: mean validation loss; NaN where unknown.
            group_losses: the same for each group, or any score of at least 0 that is larger where more is left to
                learn (1 - recall), shape ``(num_groups,)``, on any device, NaN where unknown.

        Raises:
            ValueError: if there is not one value a group, one is negative or infinite, or the mixer needs them and
                they are None. The mix stays as it was.
        """
        num_groups = self.partition.num_groups
        self.mixer.observe_validation(float(loss), check_group_losses(group_losses, num_groups))

    def finish_epoch(self) -> None:
        """End the epoch here, if a batch of it was trained on; needed only before its last batch.

        Batches composed ahead are taken back. An iterator made in the middle of an epoch ends that epoch by itself.
        """
        self._composition.take_back()
        if self._composition.position > 0:
            self._end_epoch()

    def _warn_of_no_losses(self) -> None:
        warnings.warn(
            f"MixedBatchSampler: {type(self.mixer).__name__} follows losses, but none of the last {self.lag} batches "
            "was observed; call sampler.observe(losses) after each step",
            stacklevel=3,
        )

    def _end_epoch(self) -> None:
        self._feedback.end_epoch(self.num_replicas)
        self._composition.begin_epoch()

    def _add_losses(self, batch: ComposedBatch, losses: Tensor) -> None:
        groups, counts, num_replicas = self._groups_of(batch), batch.counts, self.num_replicas
        if num_replicas > 1:
            counts = np.bincount(groups, minlength=self.partition.num_groups)
        self._feedback.add(losses, groups, counts, self._observed, num_replicas)

    def _alike(self) -> dict[str, int]:
        """What has to be the same on every process: else they draw parts of different batches."""
        return {
            "partition": self.partition.fingerprint(),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "epoch": self._composition.epoch,
            "number of batches": self._observed,
        }

    @property
    def _observed(self) -> int:
        """Batches, over all epochs."""
        return self._composition.composed - self.lag

    def _groups_of(self, batch: ComposedBatch) -> NDArray[np.int64]:
        return self._group_numbers.repeat(batch.counts)[self.rank :: self.num_replicas]

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs, the same on every process: numbers, strings, lists and tensors.

        Batches composed ahead are in it by their proportions, so that they are composed again, as they were.
        """
        return {
            "version": STATE_VERSION,
            "fingerprint": self.partition.fingerprint(),
            "num_groups": self.partition.num_groups,
            "global_batch_size": self.global_batch_size,
            "seed": self.seed,
            **self._composition.state_dict(),
            "feedback": self._feedback.state_dict(self.num_replicas),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where a saved state was; the next iterator begins there, also in the middle of an epoch.

        Args:
            state: what :meth:`state_dict` returned, of a sampler of the same groups, global batch size and mixer.

        Raises:
            ValueError: if the state is of other groups, another batch size or another mixer; nothing is changed then.
        """
        self._check_state(state)
        self._feedback.load_state_dict(state["feedback"], self.rank)
        self.seed = state["seed"]
        self._passes = Passes(self.partition, self.seed)
        self._composition.load_state_dict(state)
        self.lacks_losses = False
        self._iteration += 1

    def _check_state(self, state: dict[str, Any]) -> None:
        mine = {
            "version": STATE_VERSION,
            "num_groups": self.partition.num_groups,
            "fingerprint": self.partition.fingerprint(),
            "global_batch_size": self.global_batch_size,
        }
        for name, value in mine.items():
            if state.get(name) != value:
                raise ValueError(
                    f"state: its {name} is {state.get(name)}, but this sampler's is {value}; load it into a sampler "
                    "of the same data, grouped in the same way, with the same global batch size"
                )
        if state["position"] > len(self):
            raise ValueError(f"state: saved at batch {state['position']} of an epoch, but an epoch has {len(self)}")


def _check_num_batches(value: int | str | None) -> int | str | None:
    if value is None or value in ("smallest", "largest"):
        return value
    if isinstance(value, str):
        raise ValueError(f'num_batches must be a number, "smallest", "largest" or None, got {value!r}')
    return check_whole(value, "num_batches")
