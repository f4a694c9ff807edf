"""States that sources have of their own: whether a run can go on by one, and where it is loaded."""

from __future__ import annotations

import copy
from typing import Any

LOSES_ITS_BUFFER = "BufferShuffledExamplesIterable"  # Hugging Face's shuffle begins a new buffer where it resumes


def has_exact_state(samples: Any) -> bool:
    """Whether a source goes on exactly by a state of its own, so that it need not be read again."""
    has_state = hasattr(samples, "state_dict") and hasattr(samples, "load_state_dict")
    return has_state and not _loses_samples(getattr(samples, "_ex_iterable", None))


def _loses_samples(part: Any) -> bool:
    """Whether a step of a Hugging Face data set, or one before it, shuffles in a buffer."""
    if part is None:
        return False
    before = [getattr(part, "ex_iterable", None), *getattr(part, "ex_iterables", ())]
    return type(part).__name__ == LOSES_ITS_BUFFER or any(map(_loses_samples, before))


def twin(samples: Any) -> Any:
    """Return a shallow copy, whose attributes are its own; Hugging Face's share theirs with their copies.

    Example:
        >>> class Rows:
        ...     def __setstate__(self, state):
        ...         self.__dict__ = state
        >>> rows = Rows()
        >>> twin(rows).position = 3
        >>> hasattr(rows, "position")
        False
    """
    copied = copy.copy(samples)
    if hasattr(copied, "__dict__"):
        copied.__dict__ = vars(samples).copy()
    return copied
