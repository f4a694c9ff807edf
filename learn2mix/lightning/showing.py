"""Where the mix of a run is seen: loggers and callbacks, the progress bar, a notebook, a picture at the end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from learn2mix.checks import check_whole
from learn2mix.lightning import figures
from learn2mix.lightning.finding import Mixed
from learn2mix.lightning.mix_log import MixLog
from learn2mix.lightning.notebook import LivePicture
from learn2mix.lightning.progress_bar import MixInBar
from learn2mix.mix_entry import check_log_groups

TOP = 3  # groups in the progress bar


class Showing:
    """Shows the mix; the arguments are those of :class:`MixingCallback`."""

    def __init__(
        self,
        log: bool,
        log_groups: int | Sequence[Any] | None,
        progress_bar: bool | int,
        figure: bool,
        live_picture: bool,
    ) -> None:
        self._logs, self._log_groups, self._figure = log, check_log_groups(log_groups), figure
        self._log: MixLog | None = None
        if isinstance(progress_bar, bool):
            progress_bar = TOP if progress_bar else 0
        num_shown = check_whole(progress_bar, "progress_bar", minimum=0)
        self._bar, self._picture, self._live = MixInBar(num_shown), LivePicture(), live_picture

    def check(self, trainer: Trainer) -> None:
        """Refuse what cannot work, before the training."""
        if self._figure:
            figures.check_figures_can_be_drawn(trainer)

    def follow(self, trainer: Trainer, sampler: Mixed) -> None:
        """Show the mix of this sampler from now on."""
        self._log = MixLog(trainer, sampler, self._log_groups) if self._logs else None
        if trainer.is_global_zero:
            self._bar.start(trainer, sampler)

    def start(self, trainer: Trainer, sampler: Mixed) -> None:
        """Show the mix that the run begins with; warn where the program that called ``fit`` will not see it move."""
        if trainer.is_global_zero and "MultiProcessing" in type(trainer.strategy.launcher).__name__:
            warnings.warn(
                "MixingCallback: this strategy trains in processes that it starts, so in the program that called fit "
                "the sampler stays as it was, with its mix and its history; look at them in on_train_end, or take them "
                'from a checkpoint: sampler.load_state_dict(torch.load(path)["callbacks"]["MixingCallback"])',
                stacklevel=2,
            )
        if self._live and trainer.is_global_zero:
            self._picture.start(sampler)

    def update(self, trainer: Trainer, pl_module: LightningModule, sampler: Mixed, batch_idx: int) -> None:
        """Show the mix after a batch."""
        self._picture.update(sampler)
        if self._log is not None:
            self._log.add(trainer, pl_module, sampler, batch_idx)

    def end(self, trainer: Trainer, sampler: Mixed) -> None:
        """Leave the picture of the whole run in the notebook, and with the loggers."""
        self._picture.stop(sampler)
        if self._figure and trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            figures.log_figure(trainer, sampler.history)

    def stop(self) -> None:
        """Leave the progress bar as it was."""
        self._bar.stop()
