"""A batch that was gathered at once, for those who expect its samples one by one.

torch's loader asks a data set for a list of samples, and collates it. ``Samples`` is such a list for whoever looks into
it; ``default_collate`` meets the type of its samples in its registry, and gets the batch as it was gathered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data._utils.collate import collate, default_collate_fn_map


class Sample(tuple[Any, ...]):
    """A sample of arrays without names."""

    __slots__ = ()


class NamedSample(dict[str, Any]):
    """A sample of arrays with names."""


class Samples(Sequence[Any]):
    """The samples of a batch, each cut out when it is asked for.

    Attributes:
        batch: as ``default_collate`` would make it of them: a list of tensors, or a dict.
    """

    def __init__(self, batch: list[Any] | dict[str, Any], length: int) -> None:
        self.batch, self._length = batch, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(self._length))]
        sample = row(self.batch, place)
        return NamedSample(sample) if isinstance(sample, dict) else Sample(sample)


def row(batch: Any, place: int) -> Any:
    """Return one sample of a batch, of tensors and arrays in lists, tuples and mappings."""
    if isinstance(batch, (torch.Tensor, np.ndarray)):
        return batch[place]
    if isinstance(batch, Mapping):
        return {name: row(part, place) for name, part in batch.items()}
    return tuple(row(part, place) for part in batch)


def _collate_samples(samples: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    if isinstance(samples, Samples):
        return samples.batch
    plain = dict if isinstance(samples[0], NamedSample) else tuple
    return collate([plain(sample) for sample in samples], collate_fn_map=collate_fn_map)


COLLATE_FNS: dict[Any, Any] = {Sample: _collate_samples, NamedSample: _collate_samples}
default_collate_fn_map.update(COLLATE_FNS)
