"""What must be the same on every process: a check in each sum, and the message where it is not."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NUM_CHECKS", "checks_of", "differences", "same_everywhere"]

NUM_CHECKS = 4
NUM_SHOWN = 5  # ranks in a message


def checks_of(must_match: dict[str, int]) -> list[float]:
    """Return numbers whose sums over all processes show whether these hold the same values.

    Two halves of a checksum, of 16 bits each, and their squares: float64 holds the sums of the squares exactly on up to
    2 ** 21 processes.

    Example:
        >>> same_everywhere([2 * check for check in checks_of({"seed": 7})], num_processes=2)
        True
    """
    halves = divmod(zlib.crc32(repr(must_match).encode()), 1 << 16)
    return [float(value) for half in halves for value in (half, half**2)]


def same_everywhere(sums: Sequence[float], num_processes: int) -> bool:
    """Say whether all processes had the same checks.

    All checks are equal if and only if ``n * sum(check ** 2) == sum(check) ** 2`` (Cauchy and Schwarz), so one
    all-reduce shows a mismatch on every process at once.

    Args:
        sums: the sums of :func:`checks_of` over the processes; compared as whole numbers, for a square of a sum has
            more digits than a float64.
        num_processes: how many there are.
    """
    totals = [int(value) for value in sums]
    pairs = zip(totals[::2], totals[1::2], strict=True)
    return all(num_processes * total_of_squares == total**2 for total, total_of_squares in pairs)


def differences(must_match: Sequence[dict[str, int]]) -> str | None:
    """Return the message that names the ranks that differ from the first, by what, and the values; None if none does.

    Args:
        must_match: what each process has, by rank.
    """
    first = must_match[0]
    others = [(rank, other) for rank, other in enumerate(must_match) if other != first]
    if not others:
        return None
    named = [(rank, other, [name for name in first if other.get(name) != first[name]]) for rank, other in others]
    said = [f"rank {rank} has another {' and '.join(names)} than rank 0" for rank, _, names in named[:NUM_SHOWN]]
    more = [f"{len(others) - NUM_SHOWN} more ranks differ"] if len(others) > NUM_SHOWN else []
    named_first = [name for name in first if any(name in names for _, _, names in named)]
    values = [_values(0, first, named_first)] + [_values(*differing) for differing in named[:NUM_SHOWN]]
    return (
        f"the processes have come apart: {'; '.join(said + more)}. Give each the same data, mixer, seed, state and "
        f"number of batches ({'; '.join(values)})"
    )


def _values(rank: int, must_match: dict[str, int], names: list[str]) -> str:
    return f"rank {rank}: " + ", ".join(f"{name} {must_match.get(name)}" for name in names)
