"""What a user may ask for where a mix is taken, turned into a mix of the groups at hand."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from learn2mix.checks import Vector, as_proportions

MixLike = Mapping[Any, float] | str | Sequence[float] | ArrayLike | None  # shares by name or in order; None: the data's
MAX_LISTED = 20  # names in an error


def starting_mix(asked: MixLike, prior: Vector, name: str, names: list[Any]) -> Vector:
    """Turn what a user may ask for into a mix: None (the data's own), ``"uniform"``, a vector, or shares by name.

    An error calls the argument ``name``; ``names`` are those of the groups.

    Example:
        >>> starting_mix("uniform", np.array([0.9, 0.1, 0.0]), "initial", ["a", "b", "c"])
        array([0.5, 0.5, 0. ])
        >>> starting_mix({"b": 0.75, "a": 0.25}, np.array([0.9, 0.1]), "initial", ["a", "b"])
        array([0.25, 0.75])
    """
    if asked is None:
        return prior
    if isinstance(asked, str):
        if asked != "uniform":
            shares = f"a vector of {len(prior)} proportions or a mapping from the names of the groups to their shares"
            raise ValueError(f'{name} must be None, "uniform", {shares}, got {asked!r}')
        return (prior > 0) / np.count_nonzero(prior)
    vector = as_proportions(by_name(asked, name, names), len(prior), name)
    refuse_empty_groups(vector, prior, names, name)
    return vector


def plain_request(asked: Any, names: list[Any] | None) -> Any:
    """Return what :func:`as_given` kept as a state can hold it: None, a name, or shares in the order of the groups.

    Where ``names`` are not known yet, shares by name are in their own order.

    Example:
        >>> plain_request({"b": 0.75, "a": 0.25}, ["a", "b"])
        [0.25, 0.75]
    """
    if isinstance(asked, Mapping):
        asked = [asked[name] for name in (asked if names is None else names)]
    return asked if asked is None or isinstance(asked, str) else as_proportions(asked).tolist()


def refuse_empty_groups(proportions: Vector, prior: Vector, names: list[Any], name: str) -> None:
    """Raise a ValueError if the mix gives a share to a group without samples."""
    if proportions[prior == 0].any():
        group = int(np.flatnonzero((prior == 0) & (proportions > 0))[0])
        raise ValueError(
            f"{name} gives {proportions[group]:.4g} to group {names[group]!r}, which has no samples; give it 0"
        )


def refuse_unknown(wanted: Iterable[Any], names: list[Any], argument: str) -> None:
    """Raise a ValueError that lists the groups if a name is none of them, and names the one that it resembles.

    Example:
        >>> refuse_unknown(["medum"], ["easy", "medium"], "initial")
        Traceback (most recent call last):
        ValueError: initial: there is no group 'medum'; the groups are 'easy', 'medium'; did you mean 'medium'?
    """
    known = set(names)
    unknown = [name for name in wanted if not _is_among(name, known)]
    if unknown:
        listed = ", ".join(map(repr, names[:MAX_LISTED])) + (", ..." if len(names) > MAX_LISTED else "")
        hint = _did_you_mean(unknown[0], names)
        raise ValueError(f"{argument}: there is no group {unknown[0]!r}; the groups are {listed}{hint}")


def _is_among(name: Any, known: set[Any]) -> bool:
    try:
        return name in known
    except TypeError:  # what cannot be hashed is no name
        return False


def _did_you_mean(name: Any, names: list[Any]) -> str:
    """Return a question after the group whose name is spelled alike, or is the same text of another type."""
    spelled = {str(known).casefold(): known for known in reversed(names)}
    closest = get_close_matches(str(name).casefold(), spelled, n=1)
    if not closest:
        return ""
    found = spelled[closest[0]]
    kind = "" if isinstance(name, type(found)) else f", of type {type(found).__name__}"
    return f"; did you mean {found!r}{kind}?"


def by_row(values: Any) -> Any:
    """Return a column of a table (a pandas Series) as a mapping from the names of its rows; anything else as it is.

    So is one whose rows are only numbered, in order.
    """
    is_column = hasattr(values, "to_dict") and hasattr(values, "index") and getattr(values, "ndim", 0) == 1
    return values.to_dict() if is_column and list(values.index) != list(range(len(values))) else values


def as_given(values: Any) -> Any:
    """Return what a user asks for, in memory that no later line of the user's writes to.

    Example:
        >>> shares = np.array([0.9, 0.1])
        >>> asked = as_given(shares)
        >>> shares[:] = 0.5
        >>> asked
        array([0.9, 0.1])
    """
    values = by_row(values)
    if isinstance(values, (np.ndarray, list, dict)):
        return copy.copy(values)
    return values.clone() if hasattr(values, "clone") else values  # a tensor


def by_name(values: Any, argument: str, names: list[Any], *, kind: str = "share") -> Any:
    """Return the values of a mapping in the order of the groups; anything else as it is.

    Names that are no group's and groups without a name are errors; only a ``kind`` of share can be left out, by 0.
    """
    values = by_row(values)
    if not isinstance(values, Mapping):
        return values
    refuse_unknown(values, names, argument)
    missing = [name for name in names if name not in values]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        hint = "; give 0 to leave a group out" if kind == "share" else ""
        found = f"has no {kind} for {missing[0]!r}{more}{hint}"
        raise ValueError(f"{argument} must name each of {len(names)} groups, but {found}")
    return [values[name] for name in names]
