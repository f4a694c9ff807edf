"""Checks of arguments: each returns the value in the form in which it is used, or says what is wrong with it."""

import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from math import inf, isfinite
from operator import index
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]
Counts = NDArray[np.int64]

FEW = 64  # numbers that Python adds up faster than NumPy
SUM_TOLERANCE = 1e-6  # what float32 arithmetic leaves of a sum of 1
LOSS_ROUNDING = 1e-4  # below 0 by no more than this a loss is 0: KL divergences and 1 - cosine come out so
ROUNDING = 1e-12  # what float64 arithmetic leaves; not divided away, so that a mix checked again stays bit for bit
_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = 8
_SHORT.maxstring = _SHORT.maxother = 80


def any_negative(values: NDArray[Any]) -> bool:
    """Whether a value is below 0. There must be at least one; with a NaN among them the answer may be wrong."""
    return bool(values[values.argmin()] < 0)  # a minimum takes NumPy three times as long for a few numbers


def total(values: NDArray[Any]) -> float:
    """Return the sum of a vector; for the few groups of most data in a fifth of the time that NumPy takes."""
    return float(sum(values.tolist()) if len(values) <= FEW else values.sum())


def least_and_total(values: Vector) -> tuple[float, float]:
    """Return the smallest value of a vector and the sum; with a NaN among them, which is in the sum, only that."""
    if len(values) > FEW:
        return float(values.min()), float(values.sum())
    numbers = values.tolist()
    return min(numbers), float(sum(numbers))


def as_proportions(values: ArrayLike, num_groups: int | None = None, name: str = "proportions") -> Vector:
    """Return a mix as a new float64 vector that sums to 1, or raise a ValueError or a TypeError."""
    vector = _as_vector(values, name, num_groups)
    least, sum_of_all = least_and_total(vector)
    if least < 0 or not sum_of_all < np.inf:  # also where a value is NaN
        bad = int(np.flatnonzero(~(np.isfinite(vector) & (vector >= 0)))[0])
        raise ValueError(f"{name} must be finite and at least 0, got {vector[bad]} at index {bad}")
    if abs(sum_of_all - 1.0) > SUM_TOLERANCE:
        raise ValueError(f"{name} must sum to 1, got {sum_of_all:.9g}; divide by the sum if these are weights")
    return vector if abs(sum_of_all - 1.0) <= ROUNDING else vector / sum_of_all


def as_losses(values: ArrayLike, num_groups: int, name: str = "losses", *, signed: bool = False) -> Vector:
    """Return the losses of the groups (NaN: not seen) as a float64 vector of values of at least 0, or raise.

    ``signed`` values may lie below 0.
    """
    losses = _as_vector(values, name, num_groups, copy=False)
    least, sum_of_all = least_and_total(losses)
    if isfinite(sum_of_all) and (signed or least >= 0):
        return losses
    if not np.isinf(losses).any() and (signed or not np.fmin.reduce(losses) < 0):  # some are NaN
        return losses
    bad = np.flatnonzero(np.isinf(losses) | (False if signed else losses < -LOSS_ROUNDING))
    if len(bad):
        rule = "finite" if signed else "at least 0 and finite"
        raise ValueError(f"{name} must be {rule} (NaN: not seen), got {losses[bad[0]]} at index {bad[0]}")
    return losses if signed else np.maximum(losses, 0.0)


def _as_vector(values: ArrayLike, name: str, num_groups: int | None, *, copy: bool = True) -> Vector:
    """Return a vector of floats: a new one, or without ``copy`` the values themselves if they are one."""
    on_host: Any = values if type(values) is np.ndarray else on_the_host(values, name)
    try:
        vector = (np.array if copy else np.asarray)(on_host, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a vector of numbers, got {values!r}") from error
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name} must be 1-D with at least one value, got shape {vector.shape}")
    if num_groups is not None and len(vector) != num_groups:
        raise ValueError(f"{name} must have one value a group: expected {num_groups}, got {len(vector)}")
    return vector


def as_number(value: Any, name: str, rule: str) -> float:
    """Return ``value`` as a float if it is a number; text that spells one is a TypeError, as anything else."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number {rule}, got {value!r}") from None


def _number_that(fits: Callable[[float], bool], value: Any, name: str, rule: str, must: str, hint: str = "") -> float:
    """Return ``value`` as a float if it is a number that fits, else raise a TypeError or a ValueError."""
    number = as_number(value, name, rule)
    if not fits(number):
        raise ValueError(f"{name} must {must}, got {value!r}{hint}")
    return number


def check_mixing_rate(value: float, name: str = "mixing_rate") -> float:
    """Return ``value`` if it is a number in [0, 1], else raise a TypeError or a ValueError."""
    return _number_that(lambda number: 0 <= number <= 1, value, name, "in [0, 1]", "lie in [0, 1]")


def check_floor(value: float, num_groups: int | None = None) -> float:
    """Return ``value`` if it is a share that ``num_groups`` groups, or 1, can all have, else raise an error."""
    rule, most = "at least 0 and at most 1 / num_groups", "" if num_groups is None else f" = {1 / num_groups:.4g}"
    return _number_that(
        lambda number: 0 <= number * (num_groups or 1) <= 1, value, "floor", f"of {rule}", f"be {rule}{most}"
    )


def check_share(value: float, name: str) -> float:
    """Return ``value`` if it is a number of at least 0 and below 1, else raise a TypeError or a ValueError."""
    rule = "at least 0 and below 1"
    return _number_that(lambda number: 0 <= number < 1, value, name, f"of {rule}", f"be {rule}")


def check_above_zero(value: float, name: str, *, or_zero: bool = False) -> float:
    """Return ``value`` if it is a finite number above 0, or 0 where that is allowed, else raise an error."""
    if or_zero:
        return _number_that(lambda number: 0 <= number < inf, value, name, "of at least 0", "be at least 0 and finite")
    return _number_that(lambda number: 0 < number < inf, value, name, "above 0", "be above 0 and finite")


def check_passes(value: float) -> float:
    """Return ``value`` if it is a number above 0, else raise a TypeError or a ValueError."""
    return _number_that(lambda number: number > 0, value, "passes", "above 0", "be above 0")


def check_power(value: float) -> float:
    """Return ``value`` if it is a finite number, else raise a TypeError or a ValueError."""
    return _number_that(isfinite, value, "power", "such as 0.5", "be finite", "; 0 gives each group the same share")


def check_every(value: str | int, names: tuple[str, str], unit: str) -> str | int:
    """Return ``value`` if it is one of two names or a whole number of at least 1, of some ``unit``, else raise."""
    if isinstance(value, str) and value not in names:
        raise ValueError(f'every must be "{names[0]}", "{names[1]}" or a number of {unit}, got {value!r}')
    return value if isinstance(value, str) else check_whole(value, "every")


def check_seed(value: Any) -> int:
    """Return ``value`` if it is a whole number in [0, 2 ** 64), else raise a TypeError or a ValueError."""
    seed = check_whole(value, "seed", minimum=0)
    if seed >= 1 << 64:
        raise ValueError(f"seed must be below 2 ** 64, got {seed}")
    return seed


def check_whole(value: Any, name: str, minimum: int = 1) -> int:
    """Return ``value`` as an int if it is a whole number of at least ``minimum``."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}")
    return number


def check_function(value: Any, name: str) -> None:
    """Raise a TypeError unless ``value`` is a function or None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be a function or None, got {value!r}")


def differences(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say which settings differ between a state and the code that loads it, by name.

    A name that only one of the two has is no difference, so that settings may come and go with versions.

    Example:
        >>> differences({"mixing_rate": 0.5, "every": "step"}, {"mixing_rate": 0.01, "every": "step", "floor": 0.1})
        ['mixing_rate: 0.5 in the state, 0.01 here']
    """
    pairs = [(name, plain(saved[name]), plain(value)) for name, value in here.items() if name in saved]
    return [
        f"{name}: {_SHORT.repr(old)} in the state, {_SHORT.repr(new)} here"
        for name, old, new in pairs
        if old != new and repr(old) != repr(new)  # NaN is NaN
    ]


def plain(value: Any) -> Any:
    """Return a value as a state holds it, to be compared too: nothing of NumPy or torch in it, and lists for tuples."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    value = value.tolist() if hasattr(value, "tolist") else value
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def warn_of_differences(kind: str, found: list[str]) -> None:
    """Warn once of all that :func:`differences` found in the settings of a ``kind``, if it found any."""
    if found:
        message = f"{kind}: the state was saved with other settings; those of the code are used ({'; '.join(found)})"
        warnings.warn(message, UserWarning, stacklevel=3)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return what an error asks after a name that is not known: one that is spelled alike; nothing if there is none."""
    closest = get_close_matches(name, known, n=1)
    return f"; did you mean {closest[0]}?" if closest else ""


def on_the_host(values: Any, name: str) -> Any:
    """Return a tensor of any device as a NumPy array, and anything else as it is; a ValueError if values are masked."""
    if not hasattr(values, "detach"):
        refuse_masked(values, name)
        return values
    check_dense(values, name)
    tensor = values.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


def check_dense(tensor: Any, name: str) -> None:
    """Raise a ValueError or a TypeError where a tensor has no values to be read."""
    if tensor.is_meta:
        raise ValueError(
            f"{name}: on the meta device, which holds no data; make them, or load them, with device or map_location "
            "'cpu'"
        )
    if tensor.is_nested or tensor.layout is not torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        way_out = "" if tensor.is_nested else f"; give {name}.to_dense()"
        raise TypeError(f"{name} must be a dense tensor, got a {kind} one{way_out}")


def refuse_masked(values: Any, name: str) -> None:
    """Raise a ValueError where values of a masked array are missing: NumPy would give what lies behind the mask."""
    missing = int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0
    if missing:
        raise ValueError(
            f"{name}: {missing} of {values.size} are masked; leave these samples out, or give them values of their "
            f"own: {name}.filled(value)"
        )


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself, made read-only."""
    array.setflags(write=False)
    return array
