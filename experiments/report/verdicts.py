"""What came out, first of all: a number a task with its interval, a word, and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from experiments.report.intervals import HIGHER, LOWER, NOT_SHOWN, Interval, paired
from experiments.report.overview import LONG_TAIL_LEARNER
from experiments.report.sections import BASELINE, LEARNER, Section
from experiments.report.tables import RIVALS, balanced_accuracy, shown

RATIOS = (1, 0.5, 2, 0.25, 4, 0.8, 1.25, 0.125, 8)  # ticks, the most welcome first
POINTS = (0, 5, -5, 10, -10, 2, -2, 20, -20)
TONES = {LOWER: "better", HIGHER: "worse", NOT_SHOWN: "same"}  # of errors


class Effect(NamedTuple):
    """How a method compares with another one: a ratio of errors, or a difference in points of balanced accuracy."""

    mean: float
    low: float
    high: float
    number: str
    interval: str
    word: str
    tone: str


@dataclass(frozen=True)
class Comparison:
    """All methods of a section compared with one of them.

    Attributes:
        section: whose runs they are.
        learner: the method that the verdict is on; None without a run of it.
        other: the method that all are compared with.
        is_ratio: whether the effects are ratios.
        effects: by label.
    """

    section: Section
    learner: str | None
    other: str
    is_ratio: bool
    effects: dict[str, Effect]

    @property
    def verdict(self) -> Effect | None:
        """The effect of the learner."""
        return None if self.learner is None else self.effects.get(self.learner)

    @cached_property
    def words(self) -> tuple[str, list[tuple[str, Effect]]]:
        """The verdict, and the numbers behind it; nothing without a run of the learner."""
        if self.learner is None or self.verdict is None:
            return "", []
        return _on_errors(self) if self.is_ratio else _on_accuracy(self)


class Scale(NamedTuple):
    """Where effects lie on a line, in per cent of its length; ratios are spaced by their logarithms."""

    low: float
    high: float
    is_ratio: bool

    @classmethod
    def over(cls, effects: Iterable[Effect], *, is_ratio: bool) -> Scale:
        """The line that shows the means of some effects and no effect; intervals may end at its edges."""
        means = [effect.mean for effect in effects]
        if is_ratio:
            return cls(min([0.8, *means]) / 1.1, max([1.15, *means]) * 1.1, is_ratio=True)
        return cls(min([-1.0, *means]) - 1, max([1.0, *means]) + 1, is_ratio=False)

    def place(self, value: float) -> float:
        """Per cent from the left."""
        low, high, value = (math.log(one) if self.is_ratio else one for one in (self.low, self.high, value))
        return round(100 * min(max((value - low) / (high - low), 0), 1), 2)

    @property
    def ticks(self) -> dict[str, float]:
        """The places of some round numbers that leave each other room, first of all that of no effect."""
        places: dict[str, float] = {}
        for number in RATIOS if self.is_ratio else POINTS:
            place = self.place(number)
            if self.low <= number <= self.high and all(abs(place - other) > 22 for other in places.values()):
                places[f"{number:g}"] = place
        return places


def compare(section: Section) -> Comparison | None:
    """Long tails by balanced accuracy where ours for them was run, all else by errors; None without what to compare."""
    learner, balanced = section.find(LONG_TAIL_LEARNER), section.find(RIVALS[0])
    if section.is_long_tail and learner is not None and balanced is not None:
        effects = {label: _gain(section, label, balanced) for label in section.compared if label != balanced}
        return Comparison(section, learner, balanced, is_ratio=False, effects=effects)
    found = {label: _ratio(section, label, BASELINE) for label in section.rivals}
    known = {label: effect for label, effect in found.items() if not math.isnan(effect.mean)}
    return Comparison(section, section.find(LEARNER), BASELINE, is_ratio=True, effects=known) if known else None


def headlines(comparisons: Sequence[Comparison]) -> list[str]:
    """How often ours wins, ties and loses."""
    lines = []
    for is_ratio, what in ((True, "error"), (False, "balanced accuracy")):
        judged = [(one, one.verdict) for one in comparisons if one.is_ratio == is_ratio and one.verdict is not None]
        if judged:
            first = judged[0][0]
            words = ("lower", "higher") if is_ratio else ("higher", "lower")
            num = {tone: sum(verdict.tone == tone for _, verdict in judged) for tone in TONES.values()}
            method = LEARNER if is_ratio else LONG_TAIL_LEARNER
            lines.append(
                f"{method} ends with a {words[0]} {what} than {first.other} on {num['better']} of {len(judged)} "
                f"{'task' if len(judged) == 1 else 'tasks'}, a {words[1]} one on {num['worse']}; on {num['same']} no "
                "difference is shown."
            )
    return lines


def _ratio(section: Section, label: str, other: str, share: float = 1.0) -> Effect:
    ratio = section.ratio(section.error_at(share), label, other)
    # A number that says 1 says that there is nothing, so it has more digits if there is.
    digits = 2 if ratio.difference == NOT_SHOWN or round(ratio.mean, 2) != 1 else 4
    interval, word = ratio.show().removesuffix(ratio.difference).strip(), ratio.difference
    return Effect(*ratio, f"{ratio.mean:.{digits}f}\N{MULTIPLICATION SIGN}", interval, word, TONES[word])


def _gain(section: Section, label: str, other: str) -> Effect:
    accuracy = balanced_accuracy(section)
    ours, theirs = paired(accuracy[label], accuracy[other])
    mean, spread = Interval.of(ours - theirs)
    low, high = mean - spread, mean + spread
    word, tone = (HIGHER, "better") if low > 0 else (LOWER, "worse") if high < 0 else (NOT_SHOWN, "same")
    number = f"{mean:+.1f}".replace("-0.0", "+0.0")
    return Effect(mean, low, high, number, Interval(mean, spread).show(1, sign="+"), word, tone)


def _on_errors(one: Comparison) -> tuple[str, list[tuple[str, Effect]]]:
    section, learner = one.section, str(one.learner)
    shares = section.caught_up()[learner] / section.num_epochs[BASELINE]
    known = shares.dropna()
    seeds = "" if len(known) == len(shares) else f" with {len(known)} of {len(shares)} seeds"
    reached = f"reaches {BASELINE}'s final error in {known.mean():.2f} of its epochs{seeds}"
    ends = {"better": "and ends lower", "worse": "but ends higher", "same": "and no difference is shown at the end"}
    sentence = (
        f"{learner} {reached if len(known) else f'does not reach the final error of {BASELINE}'}, "
        f"{ends[one.effects[learner].tone]}."
    )
    details = [("at the end", one.effects[learner]), ("half-way", _ratio(section, learner, BASELINE, 1 / 2))]
    balanced = section.find(RIVALS[0])
    if balanced is not None:
        details.append((f"against {balanced}", _ratio(section, learner, balanced)))
    return sentence, details


def _on_accuracy(one: Comparison) -> tuple[str, list[tuple[str, Effect]]]:
    learner = str(one.learner)
    accuracy = shown(balanced_accuracy(one.section), digits=1)[learner]
    details = [(f"over {one.other}", one.effects[learner])]
    adjusted = one.section.find(RIVALS[1])
    if adjusted is not None:
        details.append((f"over {adjusted}", _gain(one.section, learner, adjusted)))
    return f"{learner} ends with a balanced accuracy of {accuracy} %.", details
