"""What a task is, and what it is trained for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from experiments.datasets import Data
from experiments.lazily import F, lazily, np, torch
from experiments.settings import Setting, Values

Loader = Callable[[Path, Values, "np.random.Generator"], Data]


@dataclass(frozen=True)
class Objective:
    """A per-sample loss to train with and a per-sample error to judge by, ``(outputs, targets) -> (batch,)``.

    The tables show the mean error times ``error_scale``, in the unit that ``error_name`` ends with; lower is better.
    """

    kind: Literal["classification", "regression", "reconstruction"]
    losses: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    errors: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    error_name: str
    error_scale: float = 1.0


def _squared_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.squeeze(1) - targets).square()


def _pixel_error(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Squared error summed over an image's pixels, as the paper counts it; uint8 pixels are taken as 0..1."""
    pixels = targets if targets.is_floating_point() else targets.float() / 255
    return (outputs - pixels).square().flatten(1).sum(dim=1)


CLASSIFICATION = Objective(
    "classification",
    lambda outputs, targets: F.cross_entropy(outputs, targets, reduction="none"),
    lambda outputs, targets: (outputs.argmax(dim=1) != targets).float(),
    "test error, %",
    error_scale=100.0,
)
REGRESSION = Objective("regression", _squared_error, _squared_error, "test MSE")
RECONSTRUCTION = Objective("reconstruction", _pixel_error, _pixel_error, "test MSE, summed over pixels")


def by(source: str, **values: Any) -> dict[str, Setting]:
    """Settings of one source; those of several sources are joined by ``|``."""
    return {name: Setting(value, source) for name, value in values.items()}


CHOSEN_MODEL = lazily("experiments.models:chosen_model")  # the one that the setting ``model`` names


@dataclass(frozen=True)
class Expected:
    """Of a task's stored runs with its own settings: mean errors, and learn2mix's median seconds on the hardware."""

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
    model: Callable[[Data, Values], torch.nn.Module] = CHOSEN_MODEL
    augment: Callable[[torch.Tensor, Values], torch.Tensor] | None = None  # changes each training batch anew
    expected: Expected | None = None  # where there are results

    def changed(self, name: str, summary: str, settings: Mapping[str, Setting], **others: Any) -> Task:
        """The same task with other settings, data or the like; what to expect of it is another matter."""
        settings = {**self.settings, **settings}
        return replace(self, **{"name": name, "summary": summary, "settings": settings, "expected": None, **others})


def labelled(name: str, *, rare: tuple[int, ...] | None = None, again: bool = False) -> Loader:
    """Loads a data set whose classes are the groups; "step" cuts those in ``rare``, ``again`` is for reconstruction."""
    return lazily("experiments.datasets:load", name=name, rare=rare, again=again)
