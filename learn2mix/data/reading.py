"""Any map-style data set as arrays: taken where its structure shows them, or read sample by sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset, default_collate

from learn2mix.checks import check_whole
from learn2mix.data.columns import Columns
from learn2mix.data.images import Transform, as_tensor, images_of

READ_AT_ONCE = 64
PROBED = 8  # samples that are read twice, to see whether they are random


def read(dataset: Any, num_workers: int, progress: bool) -> tuple[Columns, Transform | None]:
    """Return the arrays of a data set, and what its samples are besides: a transform for batches of the first."""
    check_whole(num_workers, "num_workers", minimum=0)
    taken = _take(dataset)
    return (_read_each(dataset, num_workers, progress), None) if taken is None else taken


def _take(dataset: Any) -> tuple[Columns, Transform | None] | None:
    """Return the arrays that a data set consists of; None where its structure does not show them."""
    if type(dataset) is Subset:
        taken = _take(dataset.dataset)
        if taken is None:
            return None
        columns, transform = taken
        return Columns(columns.named(columns.gather(dataset.indices))), transform
    if type(dataset) is TensorDataset:
        return Columns(dataset.tensors), None
    # By its module, for this one cannot import it; a subclass elsewhere may read samples in another way.
    if type(dataset).__module__ == "learn2mix.data.in_memory":
        return dataset.columns, dataset.transform
    images = images_of(dataset)
    if images is None:
        return None
    pixels, labels, transform = images
    return Columns([pixels, labels]), transform


def _read_each(dataset: Any, num_workers: int, progress: bool) -> Columns:
    """Read each sample once, and a few of them before that, to see that they are not random."""
    from tqdm.auto import tqdm  # Lightning brings it

    size = len(dataset)
    if size == 0:
        raise ValueError("dataset must have at least 1 sample, got none")
    probes = np.unique(np.linspace(0, size - 1, PROBED).astype(int)).tolist()
    chunks = [list(range(start, min(start + READ_AT_ONCE, size))) for start in range(0, size, READ_AT_ONCE)]
    loader: DataLoader[Any] = DataLoader(
        _Named(dataset),  # type: ignore[arg-type]
        batch_sampler=[probes, probes, *chunks],
        num_workers=num_workers,
        collate_fn=_collate,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the global one
    )
    batches = iter(loader)
    once, again = (_parts(next(batches)) for _ in range(2))
    _check_not_random(once, again, probes)
    values = {name: torch.empty((size, *part.shape[1:]), dtype=part.dtype) for name, part in once.items()}
    # disable=None: not where nobody looks, in a log.
    with tqdm(total=size, unit=" samples", desc="into memory", disable=None if progress else True, delay=0.5) as bar:
        for chunk, batch in zip(chunks, batches, strict=True):
            parts = _parts(batch)
            _check_structure(parts, once, chunk)
            for name, part in parts.items():
                values[name][chunk[0] : chunk[-1] + 1] = part
            bar.update(len(chunk))
    return Columns(values if isinstance(next(iter(values)), str) else list(values.values()))


class _Named:
    """A data set whose errors name the sample."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getitems__(self, indices: list[int]) -> list[Any]:
        get_all = getattr(self._dataset, "__getitems__", None)
        try:
            return list(get_all(indices) if get_all else map(self.__getitem__, indices))
        except Exception:  # one of them: which, each tells alone
            return [self[index] for index in indices]

    def __getitem__(self, index: int) -> Any:
        try:
            return self._dataset[index]
        except Exception as error:
            raise RuntimeError(
                f"sample {index} cannot be read: {type(error).__name__}: {error}; leave it out by a Subset of the rest"
            ) from error


def _collate(samples: list[Any]) -> Any:
    """Return what torch's loader would make of samples, with images as tensors."""
    if isinstance(samples[0], Mapping):
        samples = [{name: as_tensor(part) for name, part in sample.items()} for sample in samples]
    elif isinstance(samples[0], (tuple, list)):
        samples = [tuple(map(as_tensor, sample)) for sample in samples]
    else:
        samples = [(as_tensor(sample),) for sample in samples]
    try:
        return default_collate(samples)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f"dataset must have samples of tensors and numbers, all of one structure and shape: {error}"
        ) from error


def _parts(batch: Any) -> dict[Any, Tensor]:
    """Return the tensors of a batch by their names, or by their places."""
    parts = dict(batch if isinstance(batch, Mapping) else enumerate(batch))
    for name, part in parts.items():
        if not isinstance(part, Tensor):
            raise TypeError(
                f"dataset must have samples of tensors and numbers, but {name!r} is neither (a batch of it is a "
                f"{type(part).__name__}); leave it out, or give the data set to MixedLoader as it is"
            )
    return parts


def _check_not_random(once: dict[Any, Tensor], again: dict[Any, Tensor], probes: list[int]) -> None:
    for name, part in once.items():
        other = again[name]
        if part.shape != other.shape or not ((part == other) | (part != part)).all():  # NaN differs from itself
            raise ValueError(
                f"dataset must have samples that are the same each time, but {name!r} of samples {probes} differs when "
                "they are read again: a random transform would be kept as it fell once. Take it out of the data set, "
                "and give one for whole batches: InMemory.of(dataset, transform=...)"
            )


def _check_structure(parts: dict[Any, Tensor], first: dict[Any, Tensor], chunk: list[int]) -> None:
    found, wanted = ({name: (part.dtype, part.shape[1:]) for name, part in some.items()} for some in (parts, first))
    if found != wanted:
        raise ValueError(
            f"dataset must have samples of one structure, shape and type, got {found} in samples {chunk[0]} to "
            f"{chunk[-1]}, but {wanted} in sample 0; pad or crop them, or give the data set to MixedLoader as it is"
        )
