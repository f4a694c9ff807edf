"""Settings as data: a value with its source beside it, and ``--set key=value`` to change it.

A task's setting means the same everywhere, so its name decides what it takes (`KINDS`); a method's own says so itself.
"""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from experiments.errors import UserError, did_you_mean

PAPER, CODE, OURS = "paper", "authors' code", "ours"
NONE = "none"
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """What values a setting takes: a rule in words, how to read a text (or ``ValueError``), and what has to hold."""

    rule: str
    read: Callable[[str], Any]
    holds: Callable[[Any], bool] = lambda value: True

    def parse(self, text: str) -> Any:
        """Read a text; the error names the rule, and argparse shows it."""
        with suppress(ValueError):
            value = self.read(text)
            if value != math.inf and self.holds(value):
                return value
        raise ArgumentTypeError(f"must be {self.rule}, got {text!r}")


@dataclass(frozen=True)
class Setting:
    """A value, who says so, and what other values there may be; without a kind any of the value's type."""

    value: Any
    source: str
    kind: Kind | None = None


def one_of(*names: str) -> Kind:
    """One of some words."""
    return Kind("one of " + ", ".join(names), str, lambda text: text in names)


def whole_or(*words: str, rule: str) -> Kind:
    """A whole number of at least 1, or one of some words."""
    return Kind(rule, lambda text: text if text in words else int(text), lambda value: value in words or value >= 1)


WHOLE = Kind("a whole number, at least 1", int, lambda value: value >= 1)
POSITIVE = Kind("a number above 0", float, lambda value: value > 0)
AT_LEAST_0 = Kind("a number of at least 0", float, lambda value: value >= 0)
FRACTION = Kind("a number from 0 to 1", float, lambda value: 0 <= value <= 1)
EVERY = whole_or("step", "epoch", rule="step, epoch or a whole number of steps")


def read_imbalance(text: str) -> tuple[str, float]:
    """Form and number of a text that says which share of its samples each group keeps; else a ``ValueError``."""
    form, _, digits = text.rpartition(":")
    form, value = form or "long-tail", float(digits)
    in_range = {"step": 0 < value <= 1, "linear": 0 < value <= 1, "long-tail": 1 <= value < math.inf}
    if not in_range.get(form, False):
        raise ValueError(text)
    return form, value


def normalise(text: str) -> str:
    """Check such a text, and write it in full: "20" is "long-tail:20"."""
    return text if text == NONE else "{}:{:.12g}".format(*read_imbalance(text))


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
    "momentum": Kind("a number of at least 0, below 1", float, lambda value: 0 <= value < 1),
    "weight_decay": AT_LEAST_0,
    "schedule": one_of("constant", "cosine"),
    "shift": Kind("a whole number, at least 0", int, lambda value: value >= 0),
    "flip": one_of("yes", "no"),
    "imbalance": Kind(
        "none, step:S (the task's rare groups, where it names none the upper half, keep the share S), linear:S (shares "
        "fall evenly from 1 to S) or long-tail:R, R for short (shares fall geometrically from 1 to 1/R)",
        normalise,
    ),
    "class_order": one_of("data", "seed"),
    "per_class": whole_or(NONE, rule="a whole number of samples, at least 1, or none for all"),
    "image_size": whole_or(NONE, rule="a whole number of pixels, at least 1, or none for the images as they are"),
    "max_tokens": WHOLE,
}


def kind_of(name: str, setting: Setting) -> Kind:
    """What values a setting takes: as it says, else as all settings of its name do, else what its value's type does."""
    types = {int: WHOLE, float: Kind("a number", float, math.isfinite)}
    return setting.kind or KINDS.get(name) or types.get(type(setting.value), Kind("any text", str))


def parse_overrides(pairs: Iterable[str], kinds: Mapping[str, Kind] = KINDS) -> dict[str, Any]:
    """Read ``key=value`` pairs by what each setting takes; a ``UserError`` where one is not as it must be."""
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
        except ArgumentTypeError as error:
            raise UserError(f"--set {key}: {error}") from None
    return overrides
