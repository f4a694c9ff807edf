"""When loggers and other callbacks of Lightning are told of the mix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer

from learn2mix.lightning import internals
from learn2mix.lightning.finding import Mixed
from learn2mix.mix_entry import MixEntry


class MixLog:
    """Tells loggers, and callbacks through ``self.log``, of the batches since the last entry.

    Loggers get an entry where Lightning writes its own, and directly: ``self.log`` takes 0.3 ms per value, and 0.1 ms
    more per step for what an epoch has logged before. So it gets all values only at the end of an epoch and before a
    validation run, which is when callbacks look, and at every batch those that a callback monitors.
    """

    def __init__(self, trainer: Trainer, sampler: Mixed, log_groups: int | Sequence[Any] | None) -> None:
        self._entry = MixEntry(sampler.group_names, log_groups)
        self._monitored = monitored_by(trainer)
        every_epoch = isinstance(trainer.val_check_interval, float) and trainer.val_check_interval == 1.0  # type: ignore[attr-defined]
        self._validates_midway = trainer.enable_validation and not every_epoch

    def add(self, trainer: Trainer, pl_module: LightningModule, sampler: Mixed, batch_idx: int) -> None:
        """Tell those of the mix after a batch who look at it now."""
        if not self._entry.begin(sampler):
            return
        last = trainer.is_last_batch or 0 <= trainer.max_steps <= trainer.global_step
        writes = _loggers_write(trainer, batch_idx, trainer.is_last_batch)
        looked_at = last or (self._validates_midway and (trainer.should_stop or internals.validation_follows(trainer)))
        if not (writes or looked_at or self._monitored):
            return
        entry = self._entry.make(sampler, ends=writes)
        names = entry.keys() if looked_at else self._monitored & entry.keys()
        for name in names if not trainer.barebones else ():
            value = torch.tensor(entry[name], dtype=torch.float64, device="cpu")
            pl_module.log(name, value, logger=False, on_step=True, on_epoch=False, batch_size=sampler.batch_size)
        if writes:
            for logger in trainer.loggers:
                values = entry | {"epoch": trainer.current_epoch}
                logger.log_metrics(values, step=internals.num_batches_stepped(trainer))


def _loggers_write(trainer: Trainer, batch_idx: int, last: bool) -> bool:
    """Whether Lightning writes its own entries after this batch, the last of an epoch or not."""
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    if not every or (not last and (batch_idx + 1) % trainer.accumulate_grad_batches != 0):
        return False
    return bool((internals.num_batches_stepped(trainer) + 1) % every == 0 or trainer.should_stop)


def monitored_by(trainer: Trainer) -> set[str]:
    """Return what callbacks and schedules of the learning rate look at of the mix, as often as they may look.

    ``EarlyStopping(monitor="mix/entropy")``, ``ModelCheckpoint(filename="{step}-{mix/entropy:.2f}")``; where it is
    missing, a checkpoint's name has 0.
    """
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    found = [getattr(callback, "monitor", None) for callback in callbacks]
    found += [config.monitor for config in trainer.lr_scheduler_configs]
    for callback in callbacks:
        found += re.findall(r"{([^}:]*)", getattr(callback, "filename", None) or "")
    return {name for name in found if isinstance(name, str) and name.startswith("mix/")}
