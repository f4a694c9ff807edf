"""What a task is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from experiments.datasets.splits import Data
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
        model: makes the network for the data.
        objective: what is minimised and what is shown.
        settings: how it is trained, whatever the method.
        method_settings: values that replace a method's own defaults on this task.
    """

    name: str
    summary: str
    load: Loader
    model: Callable[[Data], nn.Module]
    objective: Objective
    settings: Mapping[str, Setting]
    method_settings: Mapping[str, Setting] = field(default_factory=dict)
