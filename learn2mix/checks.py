"""Checks of arguments: each returns the value in the form in which it is used, or says what is wrong with it."""

from __future__ import annotations

import reprlib
import warnings
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    Vector = NDArray[np.float64]
    Counts = NDArray[np.int64]

__all__ = [
    "as_losses",
    "as_number",
    "as_proportions",
    "check_floor",
    "check_mixing_rate",
    "check_power",
    "check_seed",
    "check_whole",
    "differences",
    "frozen",
    "on_the_host",
    "warn_of_differences",
]

SUM_TOLERANCE = 1e-6  # what float32 arithmetic leaves of a sum of 1
LOSS_ROUNDING = 1e-4  # below 0 by no more than this a loss is 0: KL divergences and 1 - cosine come out so
ROUNDING = 1e-12  # what float64 arithmetic leaves; not divided away, so that a mix checked again stays bit for bit


def as_proportions(values: ArrayLike, num_groups: int | None = None, name: str = "proportions") -> Vector:
    """Check that ``values`` is a mix and return it as a new float64 vector that sums to 1.

    Args:
        values: shape ``(num_groups,)``, non-negative, sums to 1 to within 1e-6.
        num_groups: the length asked for; None takes any.
        name: what an error calls the argument.

    Returns:
        A new vector, shape ``(num_groups,)``, float64.

    Raises:
        ValueError: if the shape is wrong, a value is negative or not finite, or they do not sum to 1.
        TypeError: if it is no vector of numbers.

    Example:
        >>> as_proportions([1, 0])
        array([1., 0.])
    """
    vector = _as_vector(values, name)
    if num_groups is not None and len(vector) != num_groups:
        raise ValueError(f"{name} must have one value a group: expected {num_groups}, got {len(vector)}")
    total = float(vector.sum())
    if not (vector.min() >= 0 and total < np.inf):  # also where a value is NaN
        bad = int(np.flatnonzero(~(np.isfinite(vector) & (vector >= 0)))[0])
        raise ValueError(f"{name} must be finite and at least 0, got {vector[bad]} at index {bad}")
    if abs(total - 1.0) > SUM_TOLERANCE:
        raise ValueError(f"{name} must sum to 1, got {total:.9g}; divide by the sum if these are weights")
    return vector if abs(total - 1.0) <= ROUNDING else vector / total


def as_losses(values: ArrayLike, num_groups: int, name: str = "losses") -> Vector:
    """Check losses of groups and return them as a new float64 vector.

    Args:
        values: shape ``(num_groups,)``, finite and at least 0, or below it by rounding alone; NaN for a group not seen.
        num_groups: the length asked for.
        name: what an error calls the argument.

    Raises:
        ValueError: if the shape is wrong, or a value is negative or infinite.
    """
    losses = _as_vector(values, name)
    if len(losses) != num_groups:
        raise ValueError(f"{name} must have one value a group: expected {num_groups}, got {len(losses)}")
    bad = np.flatnonzero((losses < -LOSS_ROUNDING) | np.isinf(losses))
    if len(bad):
        raise ValueError(
            f"{name} must be at least 0 and finite (NaN: not seen), got {losses[bad[0]]} at index {bad[0]}"
        )
    return np.maximum(losses, 0.0)


def check_mixing_rate(value: float) -> float:
    """Return ``value`` if it is a number in [0, 1], else raise a TypeError or a ValueError."""
    number = as_number(value, "mixing_rate", "in [0, 1]")
    if not 0 <= number <= 1:
        raise ValueError(f"mixing_rate must lie in [0, 1], got {value!r}")
    return number


def check_floor(value: float, num_groups: int) -> None:
    """Raise a ValueError unless ``num_groups`` groups can all have this share, or a TypeError if it is no number."""
    number = as_number(value, "floor", "of at least 0 and at most 1 / num_groups")
    if not 0 <= number * num_groups <= 1:
        limit = 1 / num_groups
        raise ValueError(f"floor must be at least 0 and at most 1 / num_groups = {limit:.4g}, got {value!r}")


def as_number(value: Any, name: str, rule: str) -> float:
    """Return ``value`` as a float if it is a number; text that spells one is a TypeError, as anything else."""
    try:
        number = None if isinstance(value, (str, bytes)) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise TypeError(f"{name} must be a number {rule}, got {value!r}")
    return number


def check_power(value: float) -> float:
    """Return ``value`` if it is a finite number, else raise a TypeError or a ValueError."""
    number = as_number(value, "power", "such as 0.5")
    if not np.isfinite(number):
        raise ValueError(f"power must be finite, got {value!r}; 0 gives each group the same share")
    return number


def check_seed(value: Any) -> int:
    """Return ``value`` if it is a whole number in [0, 2 ** 64), else raise a TypeError or a ValueError."""
    seed = check_whole(value, "seed", minimum=0)
    if seed >= 1 << 64:
        raise ValueError(f"seed must be below 2 ** 64, got {seed}")
    return seed


def check_whole(value: Any, name: str, minimum: int = 1) -> int:
    """Return ``value`` as an int if it is a whole number of at least ``minimum``."""
    try:
        number = index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    return number


def differences(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say which settings differ between a state and the code that loads it.

    Args:
        saved: the settings in the state, plain values by name.
        here: the settings of the object that loads it. A name that only one of the two has is no difference, so that
            settings may come and go with versions.

    Returns:
        One phrase for each setting that differs, in the order of ``here``.

    Example:
        >>> differences({"mixing_rate": 0.5, "every": "step"}, {"mixing_rate": 0.01, "every": "step", "floor": 0.1})
        ['mixing_rate: 0.5 in the state, 0.01 here']
    """
    pairs = [(name, _plain(saved[name]), _plain(value)) for name, value in here.items() if name in saved]
    return [
        f"{name}: {_SHORT.repr(old)} in the state, {_SHORT.repr(new)} here"
        for name, old, new in pairs
        if old != new and repr(old) != repr(new)  # NaN is NaN
    ]


def warn_of_differences(kind: str, found: list[str]) -> None:
    """Warn once of all that :func:`differences` found; with nothing found, say nothing.

    Args:
        kind: what has the settings, as the warning calls it.
        found: what differs.

    Example:
        >>> warn_of_differences("Learn2Mix", [])
    """
    if found:
        message = f"{kind}: the state was saved with other settings; those of the code are used ({'; '.join(found)})"
        warnings.warn(message, UserWarning, stacklevel=3)


def on_the_host(values: Any, name: str) -> Any:
    """Return a tensor of any device as a NumPy array, and anything else as it is.

    Args:
        values: a tensor, or something that NumPy takes.
        name: what an error calls it.

    Raises:
        ValueError: if it is a tensor on the meta device, which holds no data.

    Example:
        >>> import torch
        >>> on_the_host(torch.tensor([1.0, 0.0], requires_grad=True), "proportions")
        array([1., 0.], dtype=float32)
    """
    if not hasattr(values, "detach"):
        return values
    if values.is_meta:
        raise ValueError(
            f"{name} is on the meta device, which holds no data; make it, or load it, with device or map_location 'cpu'"
        )
    tensor = values.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself, made read-only."""
    array.flags.writeable = False
    return array


_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = 8
_SHORT.maxstring = _SHORT.maxother = 80


def _plain(value: Any) -> Any:
    """Return tensors, arrays and tuples as lists, so that they can be compared."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _as_vector(values: ArrayLike, name: str) -> Vector:
    try:
        vector = np.array(on_the_host(values, name), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a vector of numbers, got {values!r}") from error
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be 1-D with at least one value, got shape {vector.shape}")
    return vector
