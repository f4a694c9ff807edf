"""A mix of losses instead of samples: re-weighting on batches that are drawn as ever."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from learn2mix.checks import check_whole, frozen
from learn2mix.feedback.compiled import define_operator
from learn2mix.feedback.feedback import Feedback
from learn2mix.feedback.group_losses import check_groups, check_validation, to_device
from learn2mix.feedback.per_sample import Transparent, mean_and_each, refuse_no_vector
from learn2mix.feedback.pool import Drawn
from learn2mix.feedback.processes import Processes
from learn2mix.functional import importance_weights
from learn2mix.mixers.base import Mixer, check_mixer
from learn2mix.mixers.info import MixInfo, call
from learn2mix.partition import Partition


class ReweightedLoss(Transparent):
    r"""Returns the mean of a criterion's losses, each group weighted by a mixer.

    .. math:: \frac{1}{B} \sum_j \frac{a_{g(j)}}{\tilde a_{g(j)}} \, \ell_j,
        \qquad \text{on average} \quad \sum_i a_i L_i

    For batches drawn at the data's own proportions (``shuffle=True``): the objective is that of a
    :class:`MixedBatchSampler` with the same mixer, with more noise, because a rare group comes seldom and weighs much.
    The mean is the criterion's own, as that of :class:`PerSampleLoss`: with class weights, and without what is ignored.
    Each call in training mode is one batch and moves the mixer. In evaluation mode nothing is weighted and nothing
    moves. The state of the mixer is part of ``state_dict()``, as extra state beside the criterion's own keys; a state
    from before the criterion was wrapped loads, with a warning that the mix stays as it is.

    Args:
        criterion: a module or function that returns one loss per sample, shape ``(batch_size,)``, or more than one:
            made with ``reduction="none"``.
        mixer: decides the proportions; attached to nothing else.
        groups: a :class:`Partition`, or the label of each sample of the training data, shape ``(num_samples,)``.
        num_batches: batches per epoch; mixers that update once per epoch need it.
        process_group: the processes whose losses are summed; None for all.

    Raises:
        ValueError: if ``num_batches`` is needed, or a mixer of other groups is given.
        TypeError: if ``mixer`` is no mixer, or the labels are neither integers nor strings.

    Example:
        >>> from learn2mix import FixedMix
        >>> criterion = ReweightedLoss(nn.MSELoss(reduction="none"), FixedMix("uniform"), groups=[0, 0, 0, 1])
        >>> criterion(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 0.0]), groups=torch.tensor([0, 1]))
        tensor(1.3333)
    """

    def __init__(
        self,
        criterion: nn.Module | Callable[..., Tensor],
        mixer: Mixer,
        groups: Partition | Sequence[int] | Sequence[str] | ArrayLike,
        *,
        num_batches: int | None = None,
        process_group: Any = None,
    ) -> None:
        super().__init__(criterion)
        check_mixer(mixer)
        partition = groups if isinstance(groups, Partition) else Partition.by_class(groups)
        mixer.attach(partition.proportions, partition.group_names, owner=self, sizes=partition.sizes)
        self.mixer = mixer
        self._num_batches = None if num_batches is None else check_whole(num_batches, "num_batches")
        waits = mixer.needs_losses and not mixer.due(10**9, False)  # for the end of an epoch, however late
        if self._num_batches is None and (getattr(mixer, "every", None) == "epoch" or waits):
            raise ValueError("num_batches must be given for a mixer that updates once an epoch: how many it has")
        self._processes = Processes(process_group=process_group)
        self._feedback = Feedback(mixer, partition.group_names, self._processes)
        self._batch = self._num_samples = 0  # over all epochs; samples over all processes

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        with suppress(ValueError):  # a shallow copy shares the mixer, which stays with the original
            self.mixer.attach(self.mixer.prior, self.mixer.group_names, owner=self)

    def forward(self, *args: Any, groups: Tensor | ArrayLike, **kwargs: Any) -> Tensor:
        """Return the weighted mean, a scalar; ``args`` and ``kwargs`` go to the criterion.

        ``groups`` are the numbers of the samples' groups, shape ``(batch_size,)``, whole numbers in [0, num_groups). On
        the CPU no step waits for an accelerator.

        Raises:
            ValueError: if the criterion returns a scalar, there is not one group per sample, a group is out of range,
                or a loss is negative, NaN or infinite.
            TypeError: if the groups are not whole numbers.
        """
        losses: Tensor = self.criterion(*args, **kwargs)
        refuse_no_vector(self.criterion, losses, args)
        mean, each = mean_and_each(self.criterion, losses, args, kwargs)
        if not self.training:
            return mean
        if torch.compiler.is_compiling():
            weights: Tensor = torch.ops.learn2mix.weigh(each.detach(), torch.as_tensor(groups), self._handle)
        else:
            weights = self._weigh(each.detach(), groups)
        weighted = losses * weights.view(-1, *[1] * (losses.ndim - 1))
        return mean_and_each(self.criterion, weighted, args, kwargs)[0]

    @torch.no_grad()
    def _weigh(self, losses: Tensor, groups: Tensor | ArrayLike) -> Tensor:
        """Count a batch of these losses, and return the weight of each by the mix before."""
        groups = groups.cpu() if isinstance(groups, torch.Tensor) else groups
        numbers = check_groups(groups, len(losses), len(self.mixer.prior)).numpy()
        epoch, position = divmod(self._batch, self._num_batches or (self._batch + 1))
        drawn, mix, nothing = self._drawn(len(losses)), self.mixer.proportions, frozen(np.zeros(len(self.mixer.prior)))
        info = MixInfo(nothing, mix, frozen(drawn.draws), drawn.sizes, drawn.batch_size, self._feedback.num_updates)
        call(self.mixer.seek, self._batch, epoch, info=info)
        shares = importance_weights(self.mixer.prior, self.mixer.proportions)
        weights = to_device(torch.from_numpy(shares[numbers]).to(losses.dtype), losses.device)
        self._feedback.add(losses, numbers, batch=self._batch + 1)
        self._batch += 1
        self._num_samples += len(losses) * self._processes.num_replicas
        ended, drawn = position + 1 == self._num_batches, self._drawn(len(losses))
        self._feedback.step(ended, lambda: {"number of batches": self._batch}, drawn)
        return weights

    def _drawn(self, batch_size: int) -> Drawn:
        """Say what batches are drawn at: the data's own mix, so that all groups are repeated alike."""
        prior, sizes = self.mixer.prior, frozen(self.mixer.sizes)
        draws = np.rint(prior * self._num_samples).astype(np.int64)
        return Drawn(prior, draws, sizes, batch_size * self._processes.num_replicas)

    def observe_validation(self, loss: float | Tensor, group_losses: Tensor | ArrayLike | None = None) -> None:
        """Report the result of a validation run, as to a sampler."""
        call(self.mixer.observe_validation, *check_validation(loss, group_losses, self.mixer.group_names))

    def get_extra_state(self) -> dict[str, Any]:
        """Return the mixer's state, the losses since the last update and how far training is, on any process alone."""
        return {"batch": self._batch, "num_samples": self._num_samples, "feedback": self._feedback.state_dict()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self._feedback.load_state_dict(state["feedback"])
        self._batch, self._num_samples = state["batch"], state.get("num_samples", 0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        extra = f"{prefix}_extra_state"
        if extra not in state_dict:
            warnings.warn("ReweightedLoss: the state has no mix, so the mix stays as it is", stacklevel=2)
            state_dict[extra] = self.get_extra_state()
        super()._load_from_state_dict(state_dict, prefix, *args)


define_operator("weigh", ReweightedLoss._weigh, torch.empty_like)
