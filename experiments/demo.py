"""The demo: learn2mix against its baselines, on real digits and on the paper's synthetic task, without any files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.runs import Run, plan

DEMO = {
    "mnist-5k": ("learn2mix", "classical", "balanced", "fading"),
    "mean-estimation": ("learn2mix", "classical"),
}


def plan_demo(num_seeds: int, overrides: Mapping[str, Any], time_budget: float | None = None) -> list[Run]:
    """The runs of the demo."""
    return [
        run
        for task, methods in DEMO.items()
        for run in plan([task], methods, num_seeds, overrides, time_budget=time_budget)
    ]
