"""What a task is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from experiments.datasets.splits import Data
from experiments.lazily import lazily
from experiments.libraries import np, torch
from experiments.objectives import Objective
from experiments.settings import OURS, PAPER, Setting, Values

Loader = Callable[[Path, Values, "np.random.Generator"], Data]


def by(source: str, **values: Any) -> dict[str, Setting]:
    """Settings with one source; dictionaries of several are joined by ``|``."""
    return {name: Setting(value, source) for name, value in values.items()}


# The network that the setting ``model`` names.
CHOSEN_MODEL = lazily("experiments.models:chosen_model")

# A tenth of the classes' distance to their share of the losses, as the paper moves them: after each epoch.
PAPERS_MIX = by(PAPER, mixing_rate=0.1, every="epoch")
OUR_MIX = by(PAPER, mixing_rate=0.1) | by(OURS, every="step")

# What the stored results were made on.
H200 = "an NVIDIA H200 that 16 runs share"
TWO_CORES = "one thread of an Intel Xeon"


@dataclass(frozen=True)
class Expected:
    """What a run of the task's own settings takes and reaches, as the stored results have it.

    Attributes:
        hardware: what the runs were made on.
        seconds: of training, the median run of learn2mix.
        classical: mean error over the seeds at the end, in the objective's unit.
        learn2mix: the same.
    """

    hardware: str
    seconds: float
    classical: float
    learn2mix: float

    def in_words(self, error_name: str) -> str:
        """For ``list``."""
        errors = f"classical {self.classical:g}, learn2mix {self.learn2mix:g}"
        return f"{error_name} {errors} at the end; {self.seconds:g} s of training on {self.hardware}"


@dataclass(frozen=True)
class Task:
    """Data, a model and the settings to train it with.

    Attributes:
        name: what the command line calls it.
        summary: one line for ``list``.
        load: ``(data root, settings, random generator) -> Data``; the generator is seeded by the run.
        objective: what is minimised and what is shown.
        settings: how it is trained, whatever the method.
        method_settings: values that replace a method's own defaults on this task.
        inputs: what a sample is: token ids, for one, cannot be interpolated.
        model: ``(data, settings) -> network``; by default the one that the setting ``model`` names.
        augment: ``(inputs, settings) -> inputs`` makes other inputs of a training batch's, anew for each batch; None
            leaves them as they are.
        expected: what to expect of a run; None where there are no results.
    """

    name: str
    summary: str
    load: Loader
    objective: Objective
    settings: Mapping[str, Setting]
    method_settings: Mapping[str, Setting] = field(default_factory=dict)
    inputs: Literal["images", "features", "tokens"] = "features"
    model: Callable[[Data, Values], torch.nn.Module] = CHOSEN_MODEL
    augment: Callable[[torch.Tensor, Values], torch.Tensor] | None = None
    expected: Expected | None = None

    def changed(self, name: str, summary: str, settings: Mapping[str, Setting], **others: Any) -> Task:
        """The same task with other settings, data or the like; what to expect of it is another matter."""
        settings = {**self.settings, **settings}
        return replace(self, **{"name": name, "summary": summary, "settings": settings, "expected": None, **others})


def labelled(name: str, *, rare: tuple[int, ...] | None = None, again: bool = False) -> Loader:
    """Loads a data set by name, its classes being the groups; ``rare`` are those that "step" cuts.

    With ``again`` the task is to reconstruct the inputs.
    """
    return lazily("experiments.datasets:load", name=name, rare=rare, again=again)
