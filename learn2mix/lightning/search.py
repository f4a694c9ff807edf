"""What a search (``Tuner``, ``LearningRateFinder``, ``BatchSizeFinder``) or a check before the training draws."""

from __future__ import annotations

import warnings
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from learn2mix.lightning import finding
from learn2mix.lightning.finding import LossFinder, Mixed

NO_STATE = (
    "MixingCallback: the checkpoint was saved without this callback, so it has no state of the sampler: the mix and "
    "the passes over the data begin anew; load a state that you saved yourself before fit"
)
SEARCHES = ("lr_find", "scale_batch_size")  # methods of the callbacks that search; a Tuner adds them too


class Search:
    """Knows where a run goes on: at a checkpoint's state, or where its sampler was before a search.

    Lightning trains in a search without the other callbacks.

    Attributes:
        state: of the sampler, to go on from; None: from where it is.
    """

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None
        self._sampler: Mixed | None = None  # that is searched with
        self._before_check: list[tuple[Mixed, dict[str, Any]]] = []  # samplers and their states

    def begin(self, trainer: Trainer, pl_module: LightningModule, losses: LossFinder) -> None:
        """Let the losses of a search that is about to begin know their mix, and keep where its sampler is."""
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if not any(hasattr(callback, name) for callback in callbacks for name in SEARCHES):
            return
        losses.find_criteria(pl_module)
        losses.follow_live(trainer)
        if self.state is None:
            trainer.fit_loop.setup_data()
            self._sampler = finding.find_sampler(trainer)
            self._sampler.trusted = True  # not told that nothing is observed: nothing has to be
            self.state = self._sampler.state_dict()

    def end(self, trainer: Trainer) -> dict[str, Any] | None:
        """Return the state that the sampler of the training goes on from: none of the search's, if it is another.

        Warn where a run goes on from a checkpoint that has nothing of its sampler, and the user gave that no state.
        """
        sampler = finding.find_sampler(trainer)
        state = self.state if self._sampler in (None, sampler) else None
        self.state = self._sampler = None
        if state is None and trainer.ckpt_path and trainer.global_step and sampler._observed == 0:
            warnings.warn(NO_STATE, stacklevel=3)
        return state

    def undo(self) -> None:
        """Take the sampler back to where it was, after a search that no training follows."""
        if self._sampler is not None and self.state is not None:
            self._sampler.load_state_dict(self.state, strict=False)
            self._sampler.trusted = False
            self.state = None
        self._sampler = None

    def begin_check(self, trainer: Trainer) -> None:
        """Keep where the samplers are, if a sanity check is about to begin: it may validate on the training loader."""
        if trainer.sanity_checking:
            mixes = finding.mixed_in(finding.flat(trainer.val_dataloaders))
            self._before_check = [(mixed, mixed.state_dict()) for mixed in mixes]

    def end_check(self) -> None:
        """Take them back there."""
        for mixed, state in self._before_check:
            mixed.load_state_dict(state)
        self._before_check = []
