"""Map-style data: whole batches read as they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import default_collate

from learn2mix.batches.answers import Answer, Unreadable, collated
from learn2mix.data.samples import Samples


class MapRequest(NamedTuple):
    """A batch to read."""

    number: int
    generation: int
    indices: NDArray[np.integer[Any]]


class MapReader:
    """Reads and collates; with ``skip`` a sample that cannot be read, or that ``collate`` drops, is left out."""

    def __init__(self, dataset: Any, collate: Callable[[list[Any]], Any] | None, *, skip: bool) -> None:
        self.dataset, self.skip = dataset, skip
        self.collate = default_collate if collate is None else collate

    def __getitem__(self, request: MapRequest) -> Answer:
        if not self.skip:
            return self.answer(request, fetch(self.dataset, request.indices), [])
        return self.answer(request, *fetch_readable(self.dataset, request.indices))

    def answer(self, request: MapRequest, samples: Any, failed: list[str]) -> Answer:
        """Return a batch of samples, ``Unreadable`` in the place of one that failed."""
        number, generation, indices = request
        if isinstance(samples, Samples) and self.collate is default_collate:
            return Answer(number, generation, samples.batch, None, [], None)
        if not self.skip:
            return Answer(number, generation, self.collate(samples), None, [], None)
        batch, kept, dropped = collated(samples, lambda place: f"sample {indices[place]}", self.collate, skip=True)
        return Answer(number, generation, batch, kept, failed + dropped, None)


def fetch(dataset: Any, indices: NDArray[np.integer[Any]] | list[int]) -> Any:
    """Return the samples of a data set at these indices, at once where it can.

    Its ``__getitems__`` gets a list, as torch promises, unless the data set says that it ``takes_index_arrays``.
    """
    get_all = getattr(dataset, "__getitems__", None)
    if isinstance(indices, np.ndarray) and not (get_all and getattr(dataset, "takes_index_arrays", False)):
        indices = indices.tolist()
    return get_all(indices) if get_all else [dataset[index] for index in indices]


def fetch_readable(dataset: Any, indices: NDArray[np.integer[Any]]) -> tuple[Sequence[Any], list[str]]:
    """Return the samples, ``Unreadable`` for one that fails, and what failed and why."""
    try:
        samples = fetch(dataset, indices)
        return samples if isinstance(samples, Samples) else list(samples), []
    except Exception:  # one of them: which, each tells alone
        readable: list[Any] = []
        failed = []
        for index in indices.tolist():
            try:
                readable += fetch(dataset, [index])
            except Exception as error:
                readable.append(Unreadable)
                failed.append(f"sample {index}: {type(error).__name__}: {error}")
        return readable, failed
