"""Settings as data: a value with its source beside it, and ``--set key=value`` to change it.

A setting's name means the same everywhere, so what values it takes hangs on the name (``KINDS``); what it is,
and who says so, hangs on the task or the method that has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.datasets import imbalance
from experiments.datasets.imbalance import NONE
from experiments.errors import UserError

PAPER = "paper"
CODE = "authors' code"
OURS = "ours"

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """A value and who says so."""

    value: Any
    source: str


@dataclass(frozen=True)
class Kind:
    """What values a setting takes: in words, and as a parser that raises ``ValueError`` on anything else."""

    rule: str
    parse: Callable[[str], Any]


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError(text)
    return number


def _fraction(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _below_1(text: str) -> float:
    number = float(text)
    if not 0 <= number < 1:
        raise ValueError(text)
    return number


def _share_kept(text: str) -> float:
    return _fraction(str(_positive(text)))


def _at_least(least: int) -> Kind:
    def parse(text: str) -> float:
        number = float(text)
        if not least <= number < math.inf:
            raise ValueError(text)
        return number

    return Kind(f"a number of at least {least}", parse)


def _every(text: str) -> str | int:
    return text if text in ("step", "epoch") else _whole(text)


def _one_of(*names: str) -> Kind:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return Kind("one of " + ", ".join(names), parse)


def _count(text: str) -> int:
    return 0 if text == "0" else _whole(text)


def _whole_or_none(text: str) -> int | str:
    return text if text == NONE else _whole(text)


WHOLE = Kind("a whole number, at least 1", _whole)
POSITIVE = Kind("a number above 0", _positive)

# The networks of ``experiments.models``, by name.
MODEL_NAMES = (
    "lenet5", "large-lenet", "small-conv", "mobilenet-v3-small", "resnet18", "autoencoder", "transformer", "two-layer",
)  # fmt: skip

KINDS: dict[str, Kind] = {
    "epochs": WHOLE,
    "batch_size": WHOLE,
    "model": _one_of(*MODEL_NAMES),
    "width": WHOLE,
    "optimizer": _one_of("Adam", "AdamW", "RMSprop", "SGD"),
    "lr": POSITIVE,
    "momentum": Kind("a number of at least 0, below 1", _below_1),
    "weight_decay": _at_least(0),
    "schedule": _one_of("constant", "cosine"),
    "shift": Kind("a whole number of pixels, at least 0", _count),
    "flip": _one_of("yes", "no"),
    "imbalance": Kind(imbalance.RULE, imbalance.normalise),
    "class_order": _one_of("data", "seed"),
    "per_class": Kind("a whole number of samples, at least 1, or none for all", _whole_or_none),
    "image_size": Kind("a whole number of pixels, at least 1, or none for the images as they are", _whole_or_none),
    "max_tokens": WHOLE,
    "mixing_rate": Kind("a number from 0 to 1", _fraction),
    "focusing": _at_least(0),
    "tau": _at_least(0),
    "warm_up_epochs": WHOLE,
    "curriculum_start": Kind("a number above 0, at most 1", _share_kept),
    "curriculum_growth": _at_least(1),
    "curriculum_every": WHOLE,
    "mix": _one_of("prior", "sqrt", "uniform", "learn2mix"),
    "passes": POSITIVE,
    "observed": _one_of("adjusted", "plain"),
    "every": Kind("step, epoch or a whole number of steps", _every),
}


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """Read ``key=value`` pairs as the command line gives them.

    Raises:
        UserError: if a pair has no ``=`` or no setting has that name, or its value is of the wrong kind.

    Example:
        >>> parse_overrides(["lr=1e-3", "every=step"])
        {'lr': 0.001, 'every': 'step'}
    """
    overrides = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UserError(f"--set takes key=value, got {pair!r}")
        if key not in KINDS:
            raise UserError(f"--set: no setting is called {key!r}; there are:\n{describe_kinds()}")
        try:
            overrides[key] = KINDS[key].parse(text)
        except ValueError:
            raise UserError(f"--set {key}: must be {KINDS[key].rule}, got {text!r}") from None
    return overrides


def describe_kinds() -> str:
    """All settings and what they take, one a line."""
    return "\n".join(f"  {key}: {kind.rule}" for key, kind in KINDS.items())
