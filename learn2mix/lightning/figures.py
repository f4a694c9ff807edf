"""The picture of a run for the loggers that take one."""

from __future__ import annotations

import warnings
from typing import Any

from pytorch_lightning import Trainer

from learn2mix.history import History

NAME = "mix/history"


def check_figures_can_be_drawn(trainer: Trainer) -> None:
    """Raise an ImportError that says what to install, or warn that nobody takes them, before the training."""
    try:
        import learn2mix.plotting  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError('MixingCallback(figure=True) needs matplotlib: pip install "learn2mix[plot]"') from error
    if not trainer.loggers:
        text = "figure=True, but the Trainer has no logger to take it; learn2mix.report(sampler.history) makes a page"
        warnings.warn(f"MixingCallback: {text}", stacklevel=2)


def log_figure(trainer: Trainer, history: History) -> None:
    """Give the picture of a run to TensorBoard, W&B, MLflow, and loggers that take figures as these do."""
    from learn2mix.plotting import plot_history

    figure, step = plot_history(history), trainer.global_step
    for logger in trainer.loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if hasattr(experiment, "add_figure"):  # TensorBoard
            experiment.add_figure(NAME, figure, step)
        elif hasattr(experiment, "log_figure") and getattr(logger, "run_id", None):  # MLflow; run and name of the file
            experiment.log_figure(logger.run_id, figure, f"{NAME}.png")  # type: ignore[attr-defined]
        elif hasattr(logger, "log_image"):  # W&B
            logger.log_image(NAME, [figure], step=step)
        else:
            warnings.warn(f"MixingCallback: figure=True, but {type(logger).__name__} takes no figure", stacklevel=2)
