"""Where the results of a Lightning validation run are, for mixers that follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from learn2mix.feedback.meter import GroupLossMeter

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

    from learn2mix.mixers import Mixer

__all__ = ["ValidationResults", "run_validation"]

Asked = str | Callable[[Any, Any], tuple[Any, Any]] | None


class ValidationResults:
    """Finds the loss and the losses of the groups when a validation run has ended.

    Args:
        asked: a key of ``trainer.callback_metrics`` for the loss, None for ``"val_loss"``; both take the losses of the
            groups from the one :class:`GroupLossMeter` in the module. Or a function of ``(trainer, pl_module)`` that
            returns ``(loss, group_losses)``.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def reset(self, pl_module: LightningModule, mixer: Mixer) -> None:
        """Forget the losses of the last run, and of the sanity check, where the mixer follows a meter."""
        if mixer.needs_validation == "group_losses" and not callable(self._asked):
            for meter in _meters(pl_module):
                meter.reset()

    def find(self, trainer: Trainer, pl_module: LightningModule, mixer: Mixer) -> tuple[float, list[float] | None]:
        """Return the loss and the losses of the groups, as one process has them, so that all hold the same mix.

        Raises:
            RuntimeError: if what the mixer needs cannot be found.
        """
        found = self._asked(trainer, pl_module) if callable(self._asked) else self._look(trainer, pl_module, mixer)
        loss, group_losses = found
        by_group = None if group_losses is None else torch.as_tensor(group_losses).tolist()
        return trainer.strategy.broadcast((float(loss), by_group))

    def _look(self, trainer: Trainer, pl_module: LightningModule, mixer: Mixer) -> tuple[Any, Any]:
        key = self._asked if isinstance(self._asked, str) else "val_loss"
        loss = trainer.callback_metrics.get(key, torch.nan)
        if mixer.needs_validation == "loss" and key not in trainer.callback_metrics:
            raise RuntimeError(
                f"MixingCallback: the mixer follows the validation loss, but nothing was logged as {key!r} (logged: "
                f"{', '.join(map(repr, trainer.callback_metrics)) or 'nothing'}); call self.log({key!r}, loss) in "
                "validation_step, or pass validation=key or function"
            )
        if mixer.needs_validation != "group_losses":
            return loss, None
        meters = _meters(pl_module)
        if len(meters) != 1:
            raise RuntimeError(
                "MixingCallback: the mixer follows the validation losses of the groups, and the module has "
                f"{len(meters)} GroupLossMeters; give it one and update it in validation_step, or pass "
                "validation=function"
            )
        return loss, meters[0].compute()


def _meters(pl_module: LightningModule) -> list[GroupLossMeter]:
    return [module for module in pl_module.modules() if isinstance(module, GroupLossMeter)]


def run_validation(trainer: Trainer) -> None:
    """Run the validation that was due when a checkpoint was written: Lightning leaves it out of a run that goes on."""
    validation = trainer.fit_loop.epoch_loop.val_loop
    trainer.validating, validation.restarting = True, False
    validation.run()
    trainer.training = True
