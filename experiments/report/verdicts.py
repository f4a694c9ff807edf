"""What came out, first of all: a number a task with its interval, a word, and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.report.intervals import Effect
from experiments.report.sections import BALANCED, BASELINE, HALF, LEARNER, LONG_TAIL_LEARNER, RIVALS, Section

RATIOS = (1, 0.5, 2, 0.25, 4, 0.8, 1.25, 0.125, 8)  # ticks, the most welcome first
POINTS = (0, 5, -5, 10, -10, 2, -2, 20, -20)
ENDS = {"better": "and ends lower", "worse": "but ends higher", "same": "and no difference is shown at the end"}


class Comparison(NamedTuple):
    """All methods of a section compared with one of them: by ratios of errors, or in points of balanced accuracy.

    On the learner there are a verdict, a sentence and the effects behind it by name; nothing without a run of it.
    """

    section: Section
    learner: str
    other: str
    is_ratio: bool
    effects: dict[str, Effect]
    sentence: str
    details: dict[str, Effect]

    @property
    def verdict(self) -> Effect | None:
        """The effect of the learner."""
        return self.effects.get(self.learner)

    @property
    def scale(self) -> Scale:
        """Where the effects lie."""
        return Scale.over(self.effects.values(), is_ratio=self.is_ratio)


def compare(section: Section) -> Comparison | None:
    """Long tails by balanced accuracy where ours for them was run, all else by errors; None without what to compare."""
    ours, balanced, adjusted = map(section.find, (LONG_TAIL_LEARNER, *RIVALS))
    if section.is_long_tail and ours and balanced:
        measure = "balanced accuracy"
        effects = {label: section.effect(label, balanced, measure) for label in section.compared if label != balanced}
        sentence = f"{ours} ends with a balanced accuracy of {section.shown(measure, digits=1)[ours]} %."
        details = {f"over {one}": section.effect(ours, one, measure) for one in (balanced, adjusted) if one}
        return Comparison(section, ours, balanced, False, effects, sentence, details)
    effects = {label: effect for label in section.rivals if (effect := section.effect(label, BASELINE)).mean > 0}
    learner = section.find(LEARNER) or LEARNER
    if learner not in effects:
        return Comparison(section, learner, BASELINE, True, effects, "", {}) if effects else None
    details = {"at the end": effects[learner], "half-way": section.effect(learner, BASELINE, HALF)}
    details |= {f"against {balanced}": section.effect(learner, balanced)} if balanced else {}
    sentence = f"{learner} {_reaches(section, learner)}, {ENDS[effects[learner].tone]}."
    return Comparison(section, learner, BASELINE, True, effects, sentence, details)


def _reaches(section: Section, learner: str) -> str:
    shares = section.caught_up(learner) / section.measures["epochs"][BASELINE]
    known = shares.dropna()
    seeds = "" if len(known) == len(shares) else f" with {len(known)} of {len(shares)} seeds"
    reaches = f"reaches {BASELINE}'s final error in {known.mean():.2f} of its epochs{seeds}"
    return reaches if len(known) else f"does not reach the final error of {BASELINE}"


def headlines(comparisons: Sequence[Comparison]) -> list[str]:
    """How often ours wins, ties and loses."""
    lines = []
    for is_ratio, better, worse in ((True, "lower error", "higher"), (False, "higher balanced accuracy", "lower")):
        tones = [one.verdict.tone for one in comparisons if one.is_ratio == is_ratio and one.verdict]
        wins, losses, ties = map(tones.count, ("better", "worse", "same"))
        method, other = (LEARNER, BASELINE) if is_ratio else (LONG_TAIL_LEARNER, BALANCED)
        if tones:
            lines.append(
                f"{method} ends with a {better} than {other} on {wins} of {len(tones)} task{'s' * (len(tones) > 1)}, "
                f"a {worse} one on {losses}; on {ties} no difference is shown."
            )
    return lines


class Scale(NamedTuple):
    """Where effects lie on a line, in per cent of its length; ratios are spaced by their logarithms."""

    low: float
    high: float
    is_ratio: bool

    @classmethod
    def over(cls, effects: Iterable[Effect | None], *, is_ratio: bool) -> Scale:
        """The line that shows the means of some effects and no effect; intervals may end at its edges."""
        means = [effect.mean for effect in effects if effect is not None]
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
