"""Numbers and sentences of a run page, as a person would write them."""

from __future__ import annotations

import math

import numpy as np

from learn2mix.run_page.facts import Facts

UNKNOWN = "\N{EN DASH}"  # for a number that is not known
LONGEST_NAME = 40  # characters, in a sentence
EXACT = 1e-6  # a smaller difference of shares is one of rounding
REPEATED = 2.0  # passes from which it is worth saying which group was repeated most


def number(value: float) -> str:
    """Write a share, a loss or passes shortly, with two digits that count; the page's script writes the same.

    Example:
        >>> [number(value) for value in (0.5, 0.333, 0.0699, 1.2e-5, 0, 1.0, 38.26, 1204.6, -0.25)]
        ['0.50', '0.33', '0.070', '1.2e-5', '0', '1', '38', '1,205', '-0.25']
    """
    if not np.isfinite(value):
        return UNKNOWN
    size = abs(value)
    if size >= 10 or float(value).is_integer():
        return f"{value:,.0f}"
    if size >= 0.1:
        return f"{value:.2f}"
    if size >= 0.001:
        return f"{value:.{1 - math.floor(math.log10(float(f'{size:.1e}')))}f}"
    return np.format_float_scientific(value, precision=1, unique=False, exp_digits=1)


def called(name: str) -> str:
    """Write a group's name in a sentence: a bare number is no subject, and a long name no sentence.

    Example:
        >>> called("web"), called("7"), called("a name that is as long as a path of many folders, or longer")
        ('web', 'group 7', 'a name that is as long as a path of man…')
    """
    if name.isdecimal():
        return f"group {name}"
    return shortened(name, LONGEST_NAME)


def shortened(text: str, longest: int) -> str:
    """Return a text, cut to a number of letters if it is longer."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def verdict(facts: Facts) -> list[str]:
    """Return the sentences at the top: what moved most, whether it was given what was asked for, what was repeated."""
    if np.isnan(facts.mean_realised[0]):
        return ["No batch has been observed yet."]
    said = [what_moved(facts)]
    gaps = np.abs(facts.mean_realised - facts.mean_requested)
    if gaps.max() < EXACT:
        said.append("Over the whole run, requested and realised shares are the same.")
    else:
        furthest = f"{number(gaps.max())} ({called(facts.names[gaps.argmax()])})"
        said.append(f"Over the whole run, requested and realised shares differ by at most {furthest}.")
    said += _what_was_repeated(facts)
    if np.isnan(facts.losses).all():
        said.append("No losses were observed.")
    return said


def what_moved(facts: Facts) -> str:
    """Return what moved most, from the start to the end, in a sentence."""
    start, end = facts.mix[0], facts.mix[-1]
    change = end - start
    most = facts.by_movement[0]
    if facts.move_sizes[most] < facts.steady:
        return f"The mix held still: no share moved by more than {facts.steady:.2g}."
    if np.abs(change).max() < facts.steady:
        move = facts.move(most)
        low, high = sorted((move.before, move.after))
        return (
            f"{called(facts.names[most])} swung between {number(low)} and {number(high)}; the mix ended where it began."
        )
    told = []
    for group, verb in ((change.argmax(), "rose"), (change.argmin(), "fell")):
        if abs(change[group]) >= facts.steady:
            told.append(f"{called(facts.names[group])} {verb} from {number(start[group])} to {number(end[group])}")
    return f"{', '.join(told)}."


def _what_was_repeated(facts: Facts) -> list[str]:
    passes, coverage = facts.history.passes[-1], facts.history.coverage[-1]
    said = []
    if np.isfinite(passes).any() and np.nanmax(passes) >= REPEATED:
        group = int(np.nanargmax(passes))
        said.append(f"Most repeated: {called(facts.names[group])}, {number(passes[group])} passes over its samples.")
    if np.isfinite(coverage).any() and np.nanmin(coverage) < 0.995:
        group = int(np.nanargmin(coverage))
        said.append(f"Least seen: {called(facts.names[group])}, {coverage[group]:.0%} of its samples.")
    return said
