"""Means, ratios and differences over seeds with 95 % t-intervals, and the only words that may be said of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95
UNKNOWN = "-"  # where there is no number
LOG_FROM = 4  # a linear axis would squeeze what differs by more than this factor
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
        """Summarise values, one a seed; all is NaN without any."""
        array = np.asarray(values, dtype=np.float64)
        return cls(float(array.mean()), float(half_widths(array))) if len(array) else cls(math.nan, math.nan)

    def show(self, digits: int | None = None, sign: str = "") -> str:
        """As text, 18.2 ± 0.6, with ``digits`` decimals; None shows three significant digits of the mean."""
        if math.isnan(self.mean):
            return UNKNOWN
        if digits is None:
            digits = 2 if self.mean == 0 else max(0, 2 - math.floor(math.log10(abs(self.mean))))
        half_width = "" if math.isnan(self.half_width) else f" ± {self.half_width:.{digits}f}"
        return f"{self.mean:{sign}.{digits}f}{half_width}"


class Effect(NamedTuple):
    """How a method compares with another one on the seeds of both, and the 95 % interval of that (NaN for one seed).

    A ratio is a geometric mean, with the t-interval of the mean logarithm; anything else is a mean difference.
    """

    mean: float
    low: float
    high: float
    is_ratio: bool = True

    @classmethod
    def of(cls, values: ArrayLike, others: ArrayLike, *, is_ratio: bool = True) -> Effect:
        """Compare values, indexed by seed; all is NaN without common seeds, or for ratios where one is 0 or unknown."""
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

    def show(self, digits: int | None = 1) -> str:
        """A ratio with its word, 0.800 [0.700, 0.900] lower; a difference, +1.2 ± 0.4*, with a star if it is shown."""
        if math.isnan(self.mean):
            return UNKNOWN
        if not self.is_ratio:
            return Interval(self.mean, self.high - self.mean).show(digits, sign="+") + "*" * (self.word != NOT_SHOWN)
        if math.isnan(self.low):
            return f"{self.mean:.3f} (one seed) {NOT_SHOWN}"
        nearer, digits = self.high if self.word == LOWER else self.low, 3
        while self.word != NOT_SHOWN and round(nearer, digits) == 1 and digits < MOST_DIGITS:
            digits += 1  # enough of them to see the difference
        return f"{self.mean:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}] {self.word}"


def band(values: pd.DataFrame, *, is_log: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of values, a row a place and a column a seed, and its 95 % t-interval; on a log axis, of logarithms."""
    array = np.log(values.to_numpy()) if is_log else values.to_numpy()
    mean, spread = array.mean(axis=1), half_widths(array.T)
    mean, low, high = (np.exp(line) if is_log else line for line in (mean, mean - spread, mean + spread))
    return mean, low, high


def needs_log(values: Iterable[pd.DataFrame]) -> bool:
    """Whether the means of what is drawn, a row a place and a column a seed, are for a log axis."""
    everything = pd.concat(values)
    means = everything.mean(axis=1)
    return not (everything <= 0).any(axis=None) and bool(means.max() > LOG_FROM * means.min())
