"""Labelled data as they are read, before a task cuts them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Part(NamedTuple):
    """Inputs ``(N, ...)``, as uint8 images channels first, float32 features or int64 tokens; int64 labels ``(N,)``."""

    inputs: np.ndarray
    labels: np.ndarray


class Labelled(NamedTuple):
    """The training and the test part of a data set, with the names of its classes by their number."""

    train: Part
    test: Part
    class_names: tuple[str, ...]
