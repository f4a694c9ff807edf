"""What the paper published, to stand beside our own numbers.

Source: S. Venkatasubramanian and V. Tarokh, "Learn2Mix: Training Neural Networks Using Adaptive Data Integration",
arXiv 2412.16482, Tables 1 and 2: mean and half of the 95 % t-interval over five seeds, on an RTX 3090. Classification
is test accuracy in per cent, at shares of a budget E of seconds; the rest is test mean squared error (of
reconstructions summed over the pixels), at shares of E epochs. Times are theirs: only order and ratios carry over.
"""

from __future__ import annotations

from experiments.report.intervals import Interval

# Task -> method -> (at 1/4, at 1/2, at the end); None where the paper has no number.
Row = tuple[tuple[float, float] | None, ...]

_ACCURACY: dict[str, dict[str, Row]] = {
    "mnist": {
        "learn2mix": ((95.42, 0.28), (97.61, 0.15), (98.46, 0.14)),
        "classical": ((93.14, 0.47), (96.74, 0.10), (98.14, 0.14)),
        "focal": ((91.32, 0.57), None, None),
        "smote": ((92.41, 0.71), None, None),
        "importance": ((92.44, 0.63), None, None),
        "curriculum": ((93.30, 0.54), None, None),
    },
    "fashion-mnist": {
        "learn2mix": ((77.62, 0.69), (83.16, 0.87), (85.85, 0.47)),
        "classical": ((74.13, 0.73), (79.75, 0.83), None),
        "focal": ((74.08, 0.75), None, None),
        "smote": ((73.67, 0.61), None, None),
        "importance": ((74.23, 0.29), None, None),
        "curriculum": ((75.06, 0.63), None, None),
    },
    "cifar10": {
        "learn2mix": ((51.34, 0.13), (55.84, 0.19), (60.49, 0.26)),
        "classical": ((49.26, 0.15), (54.50, 0.34), (59.62, 0.16)),
        "focal": ((47.90, 0.22), None, None),
        "smote": ((47.76, 0.15), None, None),
        "importance": ((47.40, 0.51), None, None),
        "curriculum": ((49.11, 0.25), None, None),
    },
    "imagenette": {
        "learn2mix": ((24.12, 0.46), (33.64, 0.42), (42.95, 0.33)),
        "classical": ((15.55, 0.13), (23.63, 0.33), (34.53, 0.33)),
        "focal": ((20.11, 0.37), None, None),
        "smote": ((23.19, 0.46), None, None),
        "importance": ((23.10, 0.39), None, None),
        "curriculum": ((18.82, 0.37), None, None),
    },
    "cifar100": {
        "learn2mix": ((30.03, 1.30), (46.80, 0.54), (54.50, 0.73)),
        "classical": ((23.23, 1.99), (43.00, 0.73), (52.30, 0.36)),
        "focal": ((27.15, 1.13), None, None),
        "smote": ((23.93, 2.35), None, None),
        "importance": ((27.97, 0.67), None, None),
        "curriculum": ((27.15, 0.10), None, None),
    },
    "imdb": {
        "learn2mix": ((70.28, 1.66), (76.02, 2.77), (82.38, 0.59)),
        "classical": ((50.13, 0.15), (74.99, 0.57), None),
        "focal": ((50.30, 0.67), None, None),
        "smote": ((50.94, 0.05), None, None),
        "importance": ((58.48, 0.64), None, None),
        "curriculum": ((50.02, 0.04), None, None),
    },
}

_SQUARED_ERROR: dict[str, dict[str, Row]] = {
    "mean-estimation": {
        "learn2mix": ((1.81, 0.84), (1.45, 0.26), (1.07, 0.09)),
        "classical": ((6.51, 1.52), (1.52, 0.27), (1.17, 0.06)),
    },
    "wine-quality": {
        "learn2mix": ((17.7, 1.64), (4.26, 1.55), (1.75, 0.21)),
        "classical": ((19.8, 1.51), (9.72, 1.94), (2.03, 0.18)),
    },
    "california-housing": {
        "learn2mix": ((2.52, 0.68), (1.33, 0.32), (0.77, 0.08)),
        "classical": ((2.95, 0.67), (1.82, 0.39), (0.99, 0.10)),
    },
    "mnist-reconstruction": {
        "learn2mix": ((19.6, 0.81), (12.9, 0.39), (9.31, 0.24)),
        "classical": ((20.8, 0.93), (14.0, 0.52), (10.1, 0.56)),
    },
    "fashion-mnist-reconstruction": {
        "learn2mix": ((89.3, 2.63), (65.1, 1.21), (45.5, 1.21)),
        "classical": ((91.9, 2.37), (70.9, 1.28), (51.6, 1.60)),
    },
    "cifar10-reconstruction": {
        "learn2mix": ((193, 1.23), (175, 2.85), (144, 1.71)),
        "classical": ((194, 1.98), (179, 3.87), (148, 1.37)),
    },
}

PUBLISHED = _ACCURACY | _SQUARED_ERROR


def published(task: str, method: str) -> tuple[Interval | None, ...]:
    """The paper's numbers at a quarter, half and all of the length; None for each that it has not.

    Example:
        >>> published("wine-quality", "learn2mix")[1]
        Interval(mean=4.26, half_width=1.55)
    """
    row = PUBLISHED.get(task, {}).get(method, (None, None, None))
    return tuple(None if value is None else Interval(*value) for value in row)
