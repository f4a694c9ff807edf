"""Where the per-sample losses of a training step are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from learn2mix.feedback.mix_adjusted import MixAdjustedLoss
from learn2mix.feedback.per_sample import PerSampleLoss

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule
    from torch import Tensor

    from learn2mix.batches.sampler import MixedBatchSampler
    from learn2mix.batches.stream import MixedStream

__all__ = ["LossFinder"]

Asked = Callable[[Any, Any], Any] | str | None


class LossFinder:
    """Finds the losses of each training step, and the labels of what they are of.

    Args:
        losses: a key of what ``training_step`` returns, or a function of ``(outputs, batch)``; None for
            ``outputs["losses"]`` or a :class:`PerSampleLoss` in the module.
        groups: the same for the labels; None for those of the batch.
    """

    def __init__(self, losses: Asked, groups: Asked) -> None:
        self._losses, self._groups = losses, groups
        self._criteria: list[PerSampleLoss] = []
        self._num_calls = 0  # of them, before a backward pass

    def find_criteria(self, pl_module: LightningModule) -> None:
        """Look for the criteria that keep losses."""
        self._criteria = [module for module in pl_module.modules() if isinstance(module, PerSampleLoss)]

    def follow(self, sampler: MixedBatchSampler | MixedStream) -> None:
        """Let the criteria that know their mix follow the one that is steered."""
        for criterion in self._criteria:
            if isinstance(criterion, MixAdjustedLoss):
                criterion.follow(sampler)

    def forget(self) -> None:
        """Forget the losses kept so far."""
        self._num_calls = 0
        for criterion in self._criteria:
            criterion.take()

    def end_pass(self) -> None:
        """Note how often the criteria were called before a backward pass."""
        self._num_calls = max(self._num_calls, sum(criterion.num_calls for criterion in self._criteria))
        for criterion in self._criteria:
            criterion.num_calls = 0

    def losses(self, outputs: Any, batch: Any, *, needed: bool) -> Tensor | None:
        """Return the losses of a step; None where there are none and none are needed.

        Raises:
            RuntimeError: if they cannot be found.
        """
        if callable(self._losses):
            found: Tensor | None = self._losses(outputs, batch)
            return found
        key = self._losses or "losses"
        if isinstance(outputs, Mapping) and key in outputs:
            return outputs[key]  # type: ignore[no-any-return]
        taken = [losses for losses in (criterion.take() for criterion in self._criteria) if losses is not None]
        if self._losses is None and len(taken) == 1 and self._num_calls < 2:
            return taken[0]
        if self._losses is None and not taken and not needed:
            return None
        raise RuntimeError(_no_losses(self._losses, outputs, max(self._num_calls, len(taken))))

    def groups(self, outputs: Any, batch: Any) -> Any:
        """Return the labels of what the losses are of; None where they are of the batch, in its order.

        Raises:
            RuntimeError: if they cannot be found.
        """
        if self._groups is None or callable(self._groups):
            return None if self._groups is None else self._groups(outputs, batch)
        if isinstance(outputs, Mapping) and self._groups in outputs:
            return outputs[self._groups]
        raise RuntimeError(f"MixingCallback: training_step returned no {self._groups!r} ({_returned(outputs)})")


def _returned(outputs: Any) -> str:
    names = ", ".join(map(repr, outputs)) if isinstance(outputs, Mapping) else type(outputs).__name__
    return f"it returned: {names}"


def _no_losses(asked: str | None, outputs: Any, num_calls: int) -> str:
    if num_calls > 1:
        return (
            f"MixingCallback: PerSampleLoss was called {num_calls} times in one training step; "
            "return the losses to use as outputs['losses'], or pass losses=function"
        )
    if asked is not None:
        return f"MixingCallback: training_step returned no {asked!r} ({_returned(outputs)})"
    return (
        "MixingCallback: found no per-sample losses; wrap the criterion, "
        'PerSampleLoss(nn.CrossEntropyLoss(reduction="none")), or return {"loss": ..., "losses": per_sample_losses} '
        f"from training_step ({_returned(outputs)})"
    )
