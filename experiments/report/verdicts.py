"""What came out, first of all: a number a task with its interval, a word, and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from experiments.report.intervals import Effect
from experiments.report.overview import LONG_TAIL_LEARNER
from experiments.report.sections import BASELINE, HALF, LEARNER, Section
from experiments.report.tables import RIVALS, shown

RATIOS = (1, 0.5, 2, 0.25, 4, 0.8, 1.25, 0.125, 8)  # ticks, the most welcome first
POINTS = (0, 5, -5, 10, -10, 2, -2, 20, -20)


@dataclass(frozen=True)
class Comparison:
    """All methods of a section, by label, compared with one of them: by ratios of errors, or in points of accuracy.

    The verdict is on ``learner``: a sentence, and the effects behind it by name; nothing without a run of it.
    """

    section: Section
    learner: str
    other: str
    is_ratio: bool
    effects: dict[str, Effect]

    @property
    def verdict(self) -> Effect | None:
        """The effect of the learner."""
        return self.effects.get(self.learner)

    @property
    def words(self) -> tuple[str, dict[str, Effect]]:
        """A sentence on the learner, and the effects behind it by name; nothing without a run of it."""
        if self.verdict is None:
            return "", {}
        return self._on_errors(self.verdict) if self.is_ratio else self._on_accuracy(self.verdict)

    def _on_errors(self, verdict: Effect) -> tuple[str, dict[str, Effect]]:
        section, learner = self.section, self.learner
        shares = section.caught_up(learner) / section.measures["epochs"][BASELINE]
        known = shares.dropna()
        seeds = "" if len(known) == len(shares) else f" with {len(known)} of {len(shares)} seeds"
        reached = f"reaches {BASELINE}'s final error in {known.mean():.2f} of its epochs{seeds}"
        reached = reached if len(known) else f"does not reach the final error of {BASELINE}"
        end = {"better": "and ends lower", "worse": "but ends higher", "same": "and no difference is shown at the end"}
        effects = {"at the end": verdict, "half-way": section.effect(learner, BASELINE, HALF)}
        if (balanced := section.find(RIVALS[0])) is not None:
            effects[f"against {balanced}"] = section.effect(learner, balanced)
        return f"{learner} {reached}, {end[verdict.tone]}.", effects

    def _on_accuracy(self, verdict: Effect) -> tuple[str, dict[str, Effect]]:
        accuracy, effects = self.section.measures["balanced accuracy"], {f"over {self.other}": verdict}
        if (adjusted := self.section.find(RIVALS[1])) is not None:
            effects[f"over {adjusted}"] = _gain(self.section, self.learner, adjusted)
        return f"{self.learner} ends with a balanced accuracy of {shown(accuracy, digits=1)[self.learner]} %.", effects


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
    effects = {label: effect for label in section.rivals if (effect := section.effect(label, BASELINE)).mean > 0}
    return (
        Comparison(section, section.find(LEARNER) or LEARNER, BASELINE, is_ratio=True, effects=effects)
        if effects
        else None
    )


def headlines(comparisons: Sequence[Comparison]) -> list[str]:
    """How often ours wins, ties and loses."""
    lines = []
    for is_ratio, what, words in ((True, "error", "lower higher"), (False, "balanced accuracy", "higher lower")):
        judged = [one for one in comparisons if one.is_ratio == is_ratio and one.verdict is not None]
        if judged:
            tones = [one.verdict.tone for one in judged if one.verdict is not None]
            wins, losses, ties = (tones.count(tone) for tone in ("better", "worse", "same"))
            better, worse = words.split()
            lines.append(
                f"{LEARNER if is_ratio else LONG_TAIL_LEARNER} ends with a {better} {what} than {judged[0].other} on "
                f"{wins} of {len(judged)} {'task' if len(judged) == 1 else 'tasks'}, a {worse} one on {losses}; on "
                f"{ties} no difference is shown."
            )
    return lines


def _gain(section: Section, label: str, other: str) -> Effect:
    return section.effect(label, other, "balanced accuracy")
