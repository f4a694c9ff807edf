"""Means and ratios over seeds with 95 % t-intervals, and the only words that may be said about a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95

# What is shown where there is no number.
UNKNOWN = "-"

# Of a ratio whose interval ends close to 1.
MOST_DIGITS = 8

LOWER, HIGHER, NOT_SHOWN = "lower", "higher", "no difference shown"


def half_widths(values: np.ndarray) -> np.ndarray:
    """Half the width of the 95 % t-interval over the first axis; NaN for a single seed."""
    num_seeds = len(values)
    if num_seeds < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray(stats.sem(values, axis=0) * stats.t.ppf((1 + CONFIDENCE) / 2, num_seeds - 1))


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and half the width of its 95 % t-interval (NaN for one seed)."""

    mean: float
    half_width: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> Interval:
        """Summarise one value a seed, shape ``(num_seeds,)``.

        Example:
            >>> Interval.of([1.0, 2.0, 3.0])
            Interval(mean=2.0, half_width=2.484...)
        """
        half_width = half_widths(np.array(values, dtype=np.float64)[:, None])[0]
        return cls(float(np.mean(values)), float(half_width))

    def show(self, digits: int | None = None) -> str:
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
        return f"{self.mean:.{digits}f}{half_width}"

    def show_difference(self) -> str:
        """As text with its sign and one decimal, and a star where the interval leaves out 0.

        Example:
            >>> Interval(1.23, 0.4).show_difference(), Interval(-0.5, 0.6).show_difference()
            ('+1.2 ± 0.4*', '-0.5 ± 0.6')
        """
        if math.isnan(self.mean):
            return UNKNOWN
        if math.isnan(self.half_width):
            return f"{self.mean:+.1f}"
        return f"{self.mean:+.1f} ± {self.half_width:.1f}{'*' if abs(self.mean) > self.half_width else ''}"


@dataclass(frozen=True)
class Ratio:
    """A ratio to the baseline: geometric mean over paired seeds, and its 95 % interval (NaN where there is none).

    The interval is the t-interval of the mean log ratio, back on the scale of ratios. Pairing by seed leaves out what
    both have in common: data, initial weights.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray) -> Ratio:
        """Compare values with the baseline's of the same seeds, both of shape ``(num_seeds,)``.

        Without seeds, or where a value is 0, there is no ratio: all is NaN.

        Example:
            >>> Ratio.of([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
            Ratio(mean=0.5, low=0.5, high=0.5)
        """
        pairs = np.array([values, baseline], dtype=np.float64)
        # Also refuses NaN: a group without test samples has no error.
        if pairs.size == 0 or not (pairs > 0).all():
            return cls(math.nan, math.nan, math.nan)
        logs = np.log(pairs[0] / pairs[1])
        spread = half_widths(logs[:, None])[0]
        return cls(*(float(np.exp(logs.mean() + shift)) for shift in (0.0, -spread, spread)))

    @property
    def difference(self) -> str:
        """What the interval shows: that the values are lower or higher than the baseline's, or nothing.

        Example:
            >>> Ratio(0.8, 0.7, 0.9).difference, Ratio(0.8, 0.6, 1.0).difference
            ('lower', 'no difference shown')
        """
        if self.high < 1:
            return LOWER
        if self.low > 1:
            return HIGHER
        return NOT_SHOWN

    def show(self, before_words: str = " ") -> str:
        """As text, with the words that go with it.

        Example:
            >>> Ratio(0.8, 0.7, 0.9).show()
            '0.800 [0.700, 0.900] lower'
        """
        if math.isnan(self.mean):
            return UNKNOWN
        if math.isnan(self.low):
            return f"{self.mean:.3f} (one seed){before_words}{self.difference}"
        digits = next((digits for digits in range(3, MOST_DIGITS) if self._is_told_from_1(digits)), MOST_DIGITS)
        mean, low, high = (f"{number:.{digits}f}" for number in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]{before_words}{self.difference}"

    def _is_told_from_1(self, digits: int) -> bool:
        """Whether this many digits show on which side of 1 the interval ends, as the words say."""
        nearer = self.high if self.difference == LOWER else self.low
        return self.difference == NOT_SHOWN or round(nearer, digits) != 1
