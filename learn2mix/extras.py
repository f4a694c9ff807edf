"""An optional package that is missing is named with the extra that brings it."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Import optional packages inside; where one is missing, the error says which extra brings it.

    Example:
        >>> with needs_extra("plot"):
        ...     import no_such_package
        Traceback (most recent call last):
        ModuleNotFoundError: this needs no_such_package, which is not installed: pip install "learn2mix[plot]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'this needs {error.name}, which is not installed: pip install "learn2mix[{extra}]"', name=error.name
        ) from error
