"""What a search before the training draws from a sampler (``Tuner``, ``LearningRateFinder``, ``BatchSizeFinder``)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor

from learn2mix.lightning import finding
from learn2mix.lightning.finding import LossFinder, Mixed

SEARCHES = ("lr_find", "scale_batch_size")  # methods of the callbacks that search; a Tuner adds them too


def expects_search(trainer: Trainer) -> bool:
    """Whether a callback of the Trainer searches before the training."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return any(hasattr(callback, name) for callback in callbacks for name in SEARCHES)


class LiveSampler:
    """The sampler that a Trainer's loader has when it is asked: a search may make loaders anew.

    A :class:`learn2mix.MixAdjustedLoss` follows it as it would the sampler.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    @property
    def group_names(self) -> list[Any]:
        """One name per group."""
        return finding.find_sampler(self._trainer).group_names

    def log_mix(self, target: Any) -> Tensor:
        """Return what to add to the logits, as the sampler says."""
        return finding.find_sampler(self._trainer).log_mix(target)

    def groups_in_training(self) -> NDArray[np.int64]:
        """Return the number of the group of each sample of the batch being trained on."""
        return finding.find_sampler(self._trainer).groups_in_training()


class Search:
    """Remembers where a sampler was, for Lightning trains in a search without the other callbacks."""

    def __init__(self) -> None:
        self._sampler: Mixed | None = None

    def begin(
        self, trainer: Trainer, pl_module: LightningModule, losses: LossFinder, restored: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Let the losses of a search that is about to begin know their mix, and return the state to go on from then.

        That of the sampler, unless a checkpoint's was ``restored``.
        """
        if not expects_search(trainer):
            return restored
        losses.find_criteria(pl_module)
        losses.follow(LiveSampler(trainer))
        if restored:
            return restored
        trainer.fit_loop.setup_data()
        self._sampler = finding.find_sampler(trainer)
        self._sampler.trusted = True  # not told that nothing is observed: nothing has to be
        return self._sampler.state_dict()

    def end(self, sampler: Mixed, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the state that the sampler of the training goes on from: none of the search's, if it is another."""
        searched, self._sampler = self._sampler, None
        return state if searched in (None, sampler) else None

    def undo(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Take the sampler back to this state after a search that no training follows; else return the state."""
        searched, self._sampler = self._sampler, None
        if searched is None or state is None:
            return state
        searched.load_state_dict(state, strict=False)
        searched.trusted = False
        return None
