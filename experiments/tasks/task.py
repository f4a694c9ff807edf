"""What a task is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor, nn

from experiments.datasets.splits import Data
from experiments.models import chosen_model
from experiments.objectives import Objective
from experiments.settings import Setting, Values

Loader = Callable[[Path, Values, np.random.Generator], Data]


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
    """

    name: str
    summary: str
    load: Loader
    objective: Objective
    settings: Mapping[str, Setting]
    method_settings: Mapping[str, Setting] = field(default_factory=dict)
    inputs: Literal["images", "features", "tokens"] = "features"
    model: Callable[[Data, Values], nn.Module] = chosen_model
    augment: Callable[[Tensor, Values], Tensor] | None = None
