"""Means, ratios and differences over seeds with 95 % t-intervals, and the only words that may be said of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95
UNKNOWN = "-"  # where there is no number
MOST_DIGITS = 8  # of a ratio whose interval ends close to 1
LOWER, HIGHER, NOT_SHOWN = "lower", "higher", "no difference shown"
TONES = {LOWER: "better", HIGHER: "worse", NOT_SHOWN: "same"}  # of errors


def half_widths(values: ArrayLike) -> np.ndarray:
    """Half the width of the 95 % t-interval over the first axis, one row a seed; NaN for a single seed."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return np.full(array.shape[1:], np.nan)
    return np.asarray(stats.sem(array, axis=0) * stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1))


class Interval(NamedTuple):
    """A mean over seeds and half the width of its 95 % t-interval (NaN for one seed)."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: ArrayLike) -> Interval:
        """Summarise one value a seed, shape ``(num_seeds,)``; all is NaN without seeds."""
        array = np.asarray(values, dtype=np.float64)
        return cls(float(array.mean()), float(half_widths(array))) if len(array) else cls(math.nan, math.nan)

    def show(self, digits: int | None = None, sign: str = "") -> str:
        """As text, with ``digits`` decimals; None shows three significant digits of the mean.

        Example:
            >>> Interval(18.234, 0.567).show()
            '18.2 ± 0.6'
        """
        if math.isnan(self.mean):
            return UNKNOWN
        if digits is None:
            digits = 2 if self.mean == 0 else max(0, 2 - math.floor(math.log10(abs(self.mean))))
        half_width = "" if math.isnan(self.half_width) else f" ± {self.half_width:.{digits}f}"
        return f"{self.mean:{sign}.{digits}f}{half_width}"


class Effect(NamedTuple):
    """How a method compares with another one: a mean over the seeds of both, and its 95 % interval (NaN for one seed).

    Pairing by seed leaves out what both have in common: data, initial weights. A ratio is a geometric mean, with the
    t-interval of the mean logarithm back on the scale of ratios; anything else is a difference.
    """

    mean: float
    low: float
    high: float
    is_ratio: bool = True

    @classmethod
    def of(cls, values: ArrayLike, others: ArrayLike, *, is_ratio: bool = True) -> Effect:
        """Compare values, one a seed; series indexed by seed are paired.

        All is NaN without seeds in common, and for ratios where a value is 0 or unknown.

        Example:
            >>> Effect.of([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
            Effect(mean=0.5, low=0.5, high=0.5, is_ratio=True)
        """
        ours, theirs = pd.Series(values, dtype=float).align(pd.Series(others, dtype=float), join="inner")
        if not is_ratio:
            mean, spread = Interval.of(ours - theirs)
            return cls(mean, mean - spread, mean + spread, is_ratio=False)
        is_known = (ours > 0).all() and (theirs > 0).all()
        mean, spread = Interval.of(np.log(ours / theirs)) if is_known else (math.nan, math.nan)
        return cls(math.exp(mean), math.exp(mean - spread), math.exp(mean + spread))

    @property
    def word(self) -> str:
        """What the interval shows: that the values are lower or higher than the others, or nothing."""
        return LOWER if self.high < self.is_ratio else HIGHER if self.low > self.is_ratio else NOT_SHOWN

    @property
    def tone(self) -> str:
        """Whether that is good: ratios are of errors, differences of accuracies."""
        return TONES[self.word if self.is_ratio else {LOWER: HIGHER, HIGHER: LOWER}.get(self.word, self.word)]

    @property
    def number(self) -> str:
        """The mean alone; one that says 1 says that there is nothing, so it has more digits if there is."""
        digits = 2 if self.word == NOT_SHOWN or round(self.mean, 2) != 1 else 4
        return (
            f"{self.mean:.{digits}f}\N{MULTIPLICATION SIGN}" if self.is_ratio else f"{round(self.mean, 1) + 0.0:+.1f}"
        )

    @property
    def interval(self) -> str:
        """The mean and its interval, without what they show; a ratio with digits enough to see it."""
        if not self.is_ratio:
            return self.show().rstrip("*")
        if math.isnan(self.low):
            return f"{self.mean:.3f} (one seed)"
        nearer, digits = self.high if self.word == LOWER else self.low, 3
        while self.word != NOT_SHOWN and round(nearer, digits) == 1 and digits < MOST_DIGITS:
            digits += 1
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def show(self, digits: int | None = 1) -> str:
        """A ratio with its word; a difference with a star where its interval leaves out 0, to ``digits`` decimals.

        Example:
            >>> Effect(0.8, 0.7, 0.9).show(), Effect(1.2, 0.8, 1.6, is_ratio=False).show()
            ('0.800 [0.700, 0.900] lower', '+1.2 ± 0.4*')
        """
        if math.isnan(self.mean):
            return UNKNOWN
        if self.is_ratio:
            return f"{self.interval} {self.word}"
        return Interval(self.mean, self.high - self.mean).show(digits, sign="+") + "*" * (self.word != NOT_SHOWN)
