"""Errors that are the user's to mend: printed as one message, without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """Something asked for cannot be done; the message says what, why and the way out."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What a mistyped name may have been, to be put behind it; nothing where no name is near."""
    return "".join(f" (did you mean {near}?)" for near in get_close_matches(name, list(known), n=1))
