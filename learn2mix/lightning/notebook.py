"""In a notebook the mix draws itself while a run goes on; elsewhere nothing happens, and IPython is not imported."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learn2mix.lightning.finding import Mixed

MOST_OF_THE_TIME = 0.02  # that drawing takes


class LivePicture:
    """The path of the mix of a run, in the output of the notebook's cell; each drawing takes the place of the last.

    Outside of a notebook :meth:`update` returns at once. From one drawing to the next it is ``every`` seconds, or more
    where drawing is slow.
    """

    def __init__(self, every: float = 1.0) -> None:
        self._every, self._due = every, float("inf")
        self._handle: Any = None

    def start(self, sampler: Mixed) -> None:
        """Draw the mix that the run begins with, if this is a notebook."""
        self._handle = None
        if in_notebook():
            self._draw(sampler)

    def update(self, sampler: Mixed) -> None:
        """Draw the mix of now if it is time to."""
        if time.monotonic() >= self._due:
            self._draw(sampler)

    def stop(self, sampler: Mixed) -> None:
        """Draw the mix that the run ends with."""
        if self._due != float("inf"):
            self._draw(sampler)
        self._due, self._handle = float("inf"), None

    def _draw(self, sampler: Mixed) -> None:
        from IPython.display import SVG, display

        from learn2mix.run_page.picture import picture

        began = time.monotonic()
        drawn = SVG(picture(sampler.history))  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display(drawn, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(drawn)
        now = time.monotonic()
        self._due = now + max(self._every, (now - began) / MOST_OF_THE_TIME)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook; a terminal's IPython is none, for it shows no pictures."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
