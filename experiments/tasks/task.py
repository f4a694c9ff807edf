"""What a task is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from experiments.datasets.splits import Data
from experiments.lazily import lazily, np, torch
from experiments.objectives import Objective
from experiments.settings import OURS, PAPER, Setting, Values

Loader = Callable[[Path, Values, "np.random.Generator"], Data]


def by(source: str, **values: Any) -> dict[str, Setting]:
    """Settings of one source; those of several sources are joined by ``|``."""
    return {name: Setting(value, source) for name, value in values.items()}


CHOSEN_MODEL = lazily("experiments.models:chosen_model")

# A tenth of the classes' distance to their share of the losses, as the paper moves them: after each epoch.
PAPERS_MIX = by(PAPER, mixing_rate=0.1, every="epoch")
OUR_MIX = by(PAPER, mixing_rate=0.1) | by(OURS, every="step")

# What the stored results were made on.
H200 = "an NVIDIA H200 that 16 runs share"
TWO_CORES = "one thread of an Intel Xeon"
BUSY_CORES = "one thread of an AMD EPYC, beside other work"


@dataclass(frozen=True)
class Expected:
    """What the stored runs of a task's own settings took and reached.

    The ``seconds`` of training are those of learn2mix's median run; errors are means over the seeds at the end.
    """

    hardware: str
    seconds: float
    classical: float
    learn2mix: float

    def in_words(self, error_name: str) -> str:
        errors = f"classical {self.classical:g}, learn2mix {self.learn2mix:g}"
        return f"{error_name} {errors} at the end; {self.seconds:g} s of training on {self.hardware}"


@dataclass(frozen=True)
class Task:
    """Data, a model and the settings to train it with."""

    name: str
    summary: str
    load: Loader  # (data root, settings, random generator seeded by the run) -> Data
    objective: Objective
    settings: Mapping[str, Setting]
    method_settings: Mapping[str, Setting] = field(default_factory=dict)  # in the place of methods' own defaults
    inputs: Literal["images", "features", "tokens"] = "features"
    model: Callable[[Data, Values], torch.nn.Module] = CHOSEN_MODEL  # by default what the setting ``model`` names
    augment: Callable[[torch.Tensor, Values], torch.Tensor] | None = None  # changes each training batch anew
    expected: Expected | None = None  # where there are results

    def changed(self, name: str, summary: str, settings: Mapping[str, Setting], **others: Any) -> Task:
        """The same task with other settings, data or the like; what to expect of it is another matter."""
        settings = {**self.settings, **settings}
        return replace(self, **{"name": name, "summary": summary, "settings": settings, "expected": None, **others})


def labelled(name: str, *, rare: tuple[int, ...] | None = None, again: bool = False) -> Loader:
    """Loads a data set whose classes are the groups; "step" cuts those in ``rare``, ``again`` is for reconstruction."""
    return lazily("experiments.datasets:load", name=name, rare=rare, again=again)
