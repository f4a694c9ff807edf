"""Means and ratios over seeds with 95 % t-intervals, and the only words that may be said about a difference."""

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
MOST_DIGITS = 8  # of a ratio whose interval ends close to 1
LOWER, HIGHER, NOT_SHOWN = "lower", "higher", "no difference shown"


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
        """Summarise one value a seed, shape ``(num_seeds,)``; all is NaN without seeds.

        Example:
            >>> Interval.of([1.0, 2.0, 3.0])
            Interval(mean=2.0, half_width=2.484...)
        """
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

    def show_difference(self) -> str:
        """As text with its sign and one decimal, and a star where the interval leaves out 0.

        Example:
            >>> Interval(1.23, 0.4).show_difference(), Interval(-0.5, 0.6).show_difference()
            ('+1.2 ± 0.4*', '-0.5 ± 0.6')
        """
        return self.show(1, sign="+") + "*" * (abs(self.mean) > self.half_width)


class Ratio(NamedTuple):
    """A ratio to another method: geometric mean over paired seeds, and its 95 % interval (NaN where there is none).

    The interval is the t-interval of the mean log ratio, back on the scale of ratios. Pairing by seed leaves out what
    both have in common: data, initial weights.
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike, others: ArrayLike) -> Ratio:
        """Compare values with those of the other method with the same seeds, both of shape ``(num_seeds,)``.

        Without seeds, or where a value is 0 or unknown, there is no ratio: all is NaN.

        Example:
            >>> Ratio.of([1.0, 2.0, 4.0], [2.0, 4.0, 8.0])
            Ratio(mean=0.5, low=0.5, high=0.5)
        """
        pairs = np.array([values, others], dtype=np.float64)
        if pairs.size == 0 or not (pairs > 0).all():  # refuses NaN too: a group without test samples has no error
            return cls(math.nan, math.nan, math.nan)
        mean, spread = Interval.of(np.log(pairs[0] / pairs[1]))
        return cls(*(float(np.exp(mean + shift)) for shift in (0.0, -spread, spread)))

    @property
    def difference(self) -> str:
        """What the interval shows: that the values are lower or higher than the others, or nothing.

        Example:
            >>> Ratio(0.8, 0.7, 0.9).difference, Ratio(0.8, 0.6, 1.0).difference
            ('lower', 'no difference shown')
        """
        return LOWER if self.high < 1 else HIGHER if self.low > 1 else NOT_SHOWN

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
        mean, low, high = (f"{number:.{digits}f}" for number in self)
        return f"{mean} [{low}, {high}]{before_words}{self.difference}"

    def _is_told_from_1(self, digits: int) -> bool:
        """Whether this many digits show on which side of 1 the interval ends, as the words say."""
        nearer = self.high if self.difference == LOWER else self.low
        return self.difference == NOT_SHOWN or round(nearer, digits) != 1


def paired(values: pd.Series, others: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The values of the seeds that both have; both are indexed by seed.

    Example:
        >>> paired(pd.Series({0: 1.0, 2: 3.0}), pd.Series({1: 5.0, 2: 6.0}))
        (array([3.]), array([6.]))
    """
    seeds = values.index.intersection(others.index)
    return values[seeds].to_numpy(), others[seeds].to_numpy()


def listed(seeds: Iterable[int]) -> str:
    """Seeds in words.

    Example:
        >>> listed([3, 1]), listed([2])
        ('seeds 1, 3', 'seed 2')
    """
    ordered = sorted(seeds)
    return f"seed{'s' if len(ordered) > 1 else ''} {', '.join(str(seed) for seed in ordered)}"
