"""Samples drawn from four distributions: estimate the mean that each was drawn with (paper, mean estimation)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DRAWS = 10

_Draw = Callable[[np.random.Generator, np.ndarray, tuple[int, int]], np.ndarray]

# Each: the range of the means, and how draws with the means (N, 1) are made.
DISTRIBUTIONS: dict[str, tuple[tuple[float, float], _Draw]] = {
    "normal": ((0, 1), lambda rng, mean, shape: rng.normal(mean, 1.0, shape)),
    "exponential": ((0, 1), lambda rng, mean, shape: rng.exponential(mean, shape)),
    "chi-squared": ((0, 1), lambda rng, mean, shape: rng.chisquare(mean, shape)),
    "uniform": ((20, 50), lambda rng, mean, shape: rng.uniform(mean - 10, mean + 10, shape)),
}


def draw_samples(distribution: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``size`` samples of ten numbers each, every one with a mean of its own.

    Returns:
        The draws, float32 ``(size, 10)``, and the means, float32 ``(size,)``.
    """
    (low, high), draw = DISTRIBUTIONS[distribution]
    means = rng.uniform(low, high, size=(size, 1))
    return draw(rng, means, (size, DRAWS)).astype(np.float32), means[:, 0].astype(np.float32)
