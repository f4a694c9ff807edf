"""Settings as data: a value with its source beside it, and ``--set key=value`` to change it.

A setting that tasks have means the same everywhere, so what values it takes hangs on its name (``KINDS``). A method's
own setting says itself what it takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.errors import UserError, did_you_mean

PAPER = "paper"
CODE = "authors' code"
OURS = "ours"
NONE = "none"

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """What values a setting takes: in words, and as a parser that raises ``ValueError`` on anything else."""

    rule: str
    parse: Callable[[str], Any]


@dataclass(frozen=True)
class Setting:
    """A value, who says so, and what other values there may be; without a kind any of the value's type."""

    value: Any
    source: str
    kind: Kind | None = None


def number(rule: str, read: Callable[[str], Any], holds: Callable[[Any], bool]) -> Kind:
    """The numbers that ``read`` reads and that hold to the rule."""

    def parse(text: str) -> Any:
        value = read(text)
        if not (holds(value) and math.isfinite(value)):
            raise ValueError(text)
        return value

    return Kind(f"{'a whole number' if read is int else 'a number'}{rule}", parse)


def one_of(*names: str) -> Kind:
    """One of some words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return Kind("one of " + ", ".join(names), parse)


def words_or(words: Iterable[str], kind: Kind, rule: str) -> Kind:
    """One of some words, or what a kind takes."""
    return Kind(rule, lambda text: text if text in words else kind.parse(text))


WHOLE = number(", at least 1", int, lambda value: value >= 1)
COUNT = number(", at least 0", int, lambda value: value >= 0)
POSITIVE = number(" above 0", float, lambda value: value > 0)
AT_LEAST_0 = number(" of at least 0", float, lambda value: value >= 0)
FRACTION = number(" from 0 to 1", float, lambda value: 0 <= value <= 1)
BELOW_1 = number(" of at least 0, below 1", float, lambda value: 0 <= value < 1)
EVERY = words_or(("step", "epoch"), WHOLE, "step, epoch or a whole number of steps")


def read_imbalance(text: str) -> tuple[str, float]:
    """Form and number of a text that says which share of its samples each group keeps.

    Raises:
        ValueError: if it has none of the forms, or its number is out of range.
    """
    form, _, digits = text.rpartition(":")
    value = float(digits)
    form = form or "long-tail"
    in_range = {"step": 0 < value <= 1, "linear": 0 < value <= 1, "long-tail": 1 <= value < math.inf}
    if not in_range.get(form, False):
        raise ValueError(text)
    return form, value


def normalise(text: str) -> str:
    """Check such a text, and write it in full.

    Example:
        >>> normalise("20"), normalise("step:.05")
        ('long-tail:20', 'step:0.05')
    """
    if text == NONE:
        return text
    form, value = read_imbalance(text)
    return f"{form}:{value:.12g}"


IMBALANCE = Kind(
    "none, step:S (the task's rare groups, where it names none the upper half, keep the share S), linear:S (shares "
    "fall evenly from 1 to S) or long-tail:R, R for short (shares fall geometrically from 1 to 1/R)",
    normalise,
)

# The networks of ``experiments.models``, by name.
MODEL_NAMES = (
    "lenet5", "large-lenet", "small-conv", "mobilenet-v3-small", "resnet18", "autoencoder", "transformer", "two-layer",
)  # fmt: skip

KINDS: dict[str, Kind] = {
    "epochs": WHOLE,
    "batch_size": WHOLE,
    "model": one_of(*MODEL_NAMES),
    "width": WHOLE,
    "optimizer": one_of("Adam", "AdamW", "RMSprop", "SGD"),
    "lr": POSITIVE,
    "momentum": BELOW_1,
    "weight_decay": AT_LEAST_0,
    "schedule": one_of("constant", "cosine"),
    "shift": COUNT,
    "flip": one_of("yes", "no"),
    "imbalance": IMBALANCE,
    "class_order": one_of("data", "seed"),
    "per_class": words_or([NONE], WHOLE, "a whole number of samples, at least 1, or none for all"),
    "image_size": words_or([NONE], WHOLE, "a whole number of pixels, at least 1, or none for the images as they are"),
    "max_tokens": WHOLE,
}


def kind_of(name: str, setting: Setting) -> Kind:
    """What values a setting takes: as it says, else as all settings of its name do, else what its value's type does."""
    if setting.kind or name in KINDS:
        return setting.kind or KINDS[name]
    types = {int: WHOLE, float: number("", float, lambda value: True)}
    return types.get(type(setting.value), Kind("any text", str))


def parse_overrides(pairs: Iterable[str], kinds: Mapping[str, Kind] = KINDS) -> dict[str, Any]:
    """Read ``key=value`` pairs as the command line gives them.

    Args:
        pairs: what was given.
        kinds: all settings that there are, and what they take.

    Raises:
        UserError: if a pair has no ``=`` or no setting has that name, or its value is of the wrong kind.

    Example:
        >>> parse_overrides(["lr=1e-3", "epochs=7"])
        {'lr': 0.001, 'epochs': 7}
    """
    overrides = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes key=value, got {pair!r}")
        if key not in kinds:
            known = "\n".join(f"  {name}: {kind.rule}" for name, kind in kinds.items())
            raise UserError(f"--set: no setting is called {key!r}{did_you_mean(key, kinds)}; there are:\n{known}")
        try:
            overrides[key] = kinds[key].parse(text)
        except ValueError:
            raise UserError(f"--set {key}: must be {kinds[key].rule}, got {text!r}") from None
    return overrides
