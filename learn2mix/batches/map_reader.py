"""Answers requests for batches of map-style data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch.utils.data import default_collate

from learn2mix.batches.answers import Answer, Unreadable, collated

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MapReader", "MapRequest", "fetch"]


class MapRequest(NamedTuple):
    """A batch of map-style data."""

    number: int
    generation: int
    indices: list[int]


class MapReader:
    """Reads and collates; goes to the workers.

    Args:
        dataset: map-style data; its ``__getitems__`` is used where it has one.
        collate: makes a batch of a list of samples; None for torch's.
        skip: whether a sample that cannot be read, or that ``collate`` drops, is left out.
    """

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None, *, skip: bool) -> None:
        self.dataset, self.skip = dataset, skip
        self.collate = default_collate if collate is None else collate

    def __getitem__(self, request: MapRequest) -> Answer:
        """Return the batch that is asked for."""
        number, generation, indices = request
        if not self.skip:
            return Answer(number, generation, self.collate(fetch(self.dataset, indices)), None, [], None)
        samples, skipped = fetch_readable(self.dataset, indices)
        return Answer(number, generation, *self.collated(samples, indices, skipped), None)

    def collated(self, samples: list[Any], indices: list[int], skipped: list[str]) -> tuple[Any, Any, list[str]]:
        """Return the batch of samples, the places of those that are left, and which were skipped."""
        batch, kept, dropped = collated(samples, lambda place: f"sample {indices[place]}", self.collate, skip=self.skip)
        return batch, kept, skipped + dropped


def fetch(dataset: Any, indices: list[int]) -> Any:
    """Return the samples of a data set at these indices, at once where it can."""
    get_all = getattr(dataset, "__getitems__", None)
    return get_all(indices) if get_all else [dataset[index] for index in indices]


def fetch_readable(dataset: Any, indices: list[int]) -> tuple[list[Any], list[str]]:
    """Return the samples, ``Unreadable`` for one that fails, and what failed and why."""
    try:
        return list(fetch(dataset, indices)), []
    except Exception:  # one of them: which, each tells alone
        samples: list[Any] = []
        skipped = []
        for index in indices:
            try:
                samples += fetch(dataset, [index])
            except Exception as error:
                samples.append(Unreadable)
                skipped.append(f"sample {index}: {type(error).__name__}: {error}")
        return samples, skipped
