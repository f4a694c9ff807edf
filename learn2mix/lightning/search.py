"""What a search before the training draws from a sampler (``Tuner``, ``LearningRateFinder``, ``BatchSizeFinder``)."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Trainer

from learn2mix.lightning import finding
from learn2mix.lightning.finding import Mixed

SEARCHES = ("lr_find", "scale_batch_size")  # methods of the callbacks that search; a Tuner adds them too


class Search:
    """Remembers where a sampler was, for Lightning trains in a search without the other callbacks."""

    def __init__(self) -> None:
        self._sampler: Mixed | None = None

    def begin(self, trainer: Trainer) -> dict[str, Any] | None:
        """Return the state of the sampler where a search is about to begin; None where there is none."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if not any(hasattr(callback, name) for callback in callbacks for name in SEARCHES):
            return None
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
