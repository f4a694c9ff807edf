"""The groups whose shares have moved most, in the progress bar of the Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pytorch_lightning import Trainer

from learn2mix.checks import Vector
from learn2mix.lightning.finding import Mixed

LEAST_MOVE = 0.005  # of a share, to be shown as one
LONGEST_NAME = 12


class MixInBar:
    """Adds a line such as ``mix=cat 0.31↑ dog 0.05↓`` to what the progress bar shows, TQDM's, Rich's or one's own.

    ``self.log(..., prog_bar=True)`` shows numbers only, and the same ones throughout. So this overrides the bar's
    ``get_metrics``, as Lightning's documentation says, for as long as the run goes on.

    Args:
        count: groups in the line; 0 for no line.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._bar: Any = None

    def start(self, trainer: Trainer, sampler: Mixed) -> None:
        """Show the line from now on."""
        self.stop()
        self._bar = trainer.progress_bar_callback if self._count else None  # type: ignore[attr-defined]
        if self._bar is None:
            return
        start, plain = sampler.history.proportions[0], self._bar.get_metrics

        def get_metrics(*args: Any) -> dict[str, Any]:
            shown: dict[str, Any] = dict(plain(*args))
            return shown | {"mix": line(start, sampler.mixer.proportions, sampler.group_names, self._count)}

        self._bar.get_metrics = get_metrics

    def stop(self) -> None:
        """Leave the bar as it was."""
        if self._bar is not None:
            del self._bar.get_metrics
            self._bar = None


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
