"""Where the mix of a run is seen: loggers and callbacks, the progress bar, a notebook, a picture at the end."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from pytorch_lightning import LightningModule, Trainer

from learn2mix.checks import Vector, check_whole
from learn2mix.history import History
from learn2mix.lightning.finding import Mixed
from learn2mix.lightning.mix_log import MixLog
from learn2mix.lightning.notebook import LivePicture
from learn2mix.mix_entry import check_log_groups

TOP = 3  # groups in the progress bar
LEAST_MOVE = 0.005  # of a share, to be shown as one
LONGEST_NAME = 12
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
        self._num_in_bar = check_whole(progress_bar, "progress_bar", minimum=0)
        self._bar: Any = None  # TQDM's, Rich's or one's own, while it shows a line such as mix=cat 0.31↑ dog 0.05↓
        self._picture, self._live = LivePicture(), live_picture

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
        self.stop()
        if trainer.is_global_zero and self._num_in_bar:
            self._bar = trainer.progress_bar_callback  # type: ignore[attr-defined]
        if self._bar is None:
            return
        start, plain = sampler.history.proportions[0], self._bar.get_metrics

        def get_metrics(*args: Any) -> dict[str, Any]:
            shown: dict[str, Any] = dict(plain(*args))
            return shown | {"mix": line(start, sampler.mixer.proportions, sampler.group_names, self._num_in_bar)}

        # As Lightning's documentation says: self.log(..., prog_bar=True) shows numbers, and the same ones throughout.
        self._bar.get_metrics = get_metrics

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
        if self._bar is not None:
            del self._bar.get_metrics
            self._bar = None


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


def line(start: Vector, mix: Vector, names: Sequence[Any], count: int) -> str:
    """Return the shares of the groups that moved most since the start, with an arrow where they did.

    Example:
        >>> line(np.array([0.2, 0.5, 0.3]), np.array([0.2, 0.35, 0.45]), ["cat", "dog", "eel"], count=3)
        'dog 0.35↓ eel 0.45↑ cat 0.20'
    """
    moved = mix - start
    parts = []
    for group in np.argsort(-np.abs(moved).round(9), kind="stable")[:count].tolist():
        arrow = "" if abs(moved[group]) < LEAST_MOVE else "↑" if moved[group] > 0 else "↓"
        parts.append(f"{str(names[group])[:LONGEST_NAME]} {mix[group]:.2f}{arrow}")
    return " ".join(parts)
