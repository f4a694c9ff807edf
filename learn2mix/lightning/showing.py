"""Where the mix of a run is seen: loggers and callbacks, the progress bar, a notebook, a picture at the end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from learn2mix.checks import check_whole
from learn2mix.history import History
from learn2mix.lightning.finding import Mixed
from learn2mix.lightning.mix_log import MixLog
from learn2mix.lightning.notebook import LivePicture
from learn2mix.lightning.progress_bar import MixInBar
from learn2mix.mix_entry import check_log_groups

TOP = 3  # groups in the progress bar
FIGURE = "mix/history"  # its name with the loggers


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
        """Raise an ImportError where no figure can be drawn, and warn where nobody takes it, before the training."""
        if not self._figure:
            return
        try:
            import learn2mix.plotting  # noqa: F401
        except ModuleNotFoundError as error:
            raise ImportError('MixingCallback(figure=True) needs matplotlib: pip install "learn2mix[plot]"') from error
        if not trainer.loggers:
            told = "the Trainer has no logger to take it; learn2mix.report(sampler.history) makes a page"
            warnings.warn(f"MixingCallback: figure=True, but {told}", stacklevel=2)

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
            _log_figure(trainer, sampler.history)

    def stop(self) -> None:
        """Leave the progress bar as it was."""
        self._bar.stop()


def _log_figure(trainer: Trainer, history: History) -> None:
    """Give the picture of a run to TensorBoard, W&B, MLflow, and loggers that take figures as these do."""
    from learn2mix.plotting import plot_history

    figure, step = plot_history(history), trainer.global_step
    for logger in trainer.loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(experiment, "add_figure"):  # TensorBoard
            experiment.add_figure(FIGURE, figure, step)
        elif hasattr(experiment, "log_figure") and getattr(logger, "run_id", None):  # MLflow; run and name of the file
            experiment.log_figure(logger.run_id, figure, f"{FIGURE}.png")  # type: ignore[attr-defined]
        elif hasattr(logger, "log_image"):  # W&B
            logger.log_image(FIGURE, [figure], step=step)
        else:
            warnings.warn(f"MixingCallback: figure=True, but {type(logger).__name__} takes no figure", stacklevel=2)
