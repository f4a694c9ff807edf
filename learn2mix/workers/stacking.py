"""Samples of one kind as one batch, as torch's `default_collate` makes it, and that batch as samples again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from learn2mix.data import samples as of_arrays
from learn2mix.workers.packing import Block, aligned, pinned

Places = NDArray[np.int64]
Kind = tuple[Any, ...]  # (type, data type, shape), (type,) or (type, names, kinds of the parts)

LARGE_ROW = 1 << 12  # bytes of a sample from which copies count, and not calls
NUMBERS, TEXTS = (int, float, bool), (str, bytes)
ARRAYS, ARRAY_KINDS = (np.ndarray, np.memmap), "biufc"  # booleans and numbers
SCALARS = (float, int, (np.bool_, np.number, np.object_))  # as they stand in the registry of default_collate
KNOWN = {collate.__module__, of_arrays.__name__}  # where functions that collate are defined; a user may have others


class Stacked:
    """A batch of samples of one kind, all of them told apart by their places alone."""

    __slots__ = ("batch", "kind")

    def __init__(self, batch: Any, kind: Kind) -> None:
        self.batch, self.kind = batch, kind

    def samples(self) -> list[Any]:
        """Return the samples; their tensors are rows of the batch."""
        return _rows(self.batch, self.kind)

    def pin_memory(self) -> Stacked:
        """Return the same in pinned memory."""
        return Stacked(pinned(self.batch), self.kind)


def common_kind(samples: Sequence[Any]) -> Kind | None:
    """Return the kind that all samples are of: types, shapes, names; None if they differ or cannot be told apart again.

    Example:
        >>> common_kind([(torch.zeros(2), 3), (torch.ones(2), 4)])
        (<class 'tuple'>, None, ((<class 'torch.Tensor'>, torch.float32, torch.Size([2])), (<class 'int'>,)))
        >>> common_kind([torch.zeros(2), torch.zeros(3)]) is None
        True
    """
    known = {fn.__module__ for fn in default_collate_fn_map.values()} == KNOWN
    return _common_kind(samples) if known else None


def _common_kind(samples: Sequence[Any]) -> Kind | None:
    first: Any = samples[0]
    of: Any = type(first)
    if set(map(type, samples)) != {of}:
        return None
    if of in NUMBERS or of in TEXTS or (issubclass(of, np.generic) and first.dtype.kind in ARRAY_KINDS):
        return (of,)
    if of is Tensor:
        plain = first.device.type == "cpu" and first.layout is torch.strided and not first.is_quantized
        one_kind = len({(sample.dtype, sample.shape, sample.requires_grad) for sample in samples}) == 1
        return (of, first.dtype, first.shape) if plain and one_kind and not first.requires_grad else None
    if of in ARRAYS:
        one_kind = len({(sample.dtype, sample.shape) for sample in samples}) == 1
        return (of, first.dtype, first.shape) if one_kind and first.dtype.kind in ARRAY_KINDS else None
    return _kind_of_parts(of, samples)


def _kind_of_parts(of: Any, samples: Sequence[Any]) -> Kind | None:
    names = tuple(samples[0]) if of is dict else None
    if names is not None:
        if any(tuple(sample) != names for sample in samples):
            return None
        columns: list[Any] = [[sample[name] for sample in samples] for name in names]
    elif of in (list, tuple) or hasattr(of, "_fields"):
        if len(set(map(len, samples))) > 1:
            return None
        columns = list(zip(*samples, strict=True))
    else:
        return None
    parts = tuple(map(_common_kind, columns))
    return (of, names, parts) if parts and None not in parts else None


def stack(samples: list[Any], kind: Kind, block: Block) -> Stacked:
    """Return a batch as ``default_collate`` makes it of samples of one kind, with its tensors in ``block``.

    Example:
        >>> kind = (dict, ("x", "name"), ((int,), (str,)))
        >>> stacked = stack([{"x": 1, "name": "a"}, {"x": 2, "name": "b"}], kind, Block(block_size(kind, 2)))
        >>> stacked.batch
        {'x': tensor([1, 2]), 'name': ['a', 'b']}
        >>> stacked.samples()
        [{'x': 1, 'name': 'a'}, {'x': 2, 'name': 'b'}]
    """
    storage, used = torch.from_numpy(block.as_array()).untyped_storage(), 0

    def next_tensor(dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        nonlocal used
        start, used = used, used + aligned(dtype.itemsize * prod(shape))
        tensor = torch.empty(0, dtype=dtype)
        return tensor.set_(storage, start // dtype.itemsize, shape)  # type: ignore[call-overload,no-any-return]

    def tensors(batch: Any, *, collate_fn_map: Any) -> Tensor:
        first = batch[0]
        return torch.stack(tuple(batch), out=next_tensor(first.dtype, (len(batch), *first.shape)))

    def scalars(fn: Callable[..., Any], batch: Any, *, collate_fn_map: Any) -> Tensor:
        made = fn(batch, collate_fn_map=collate_fn_map)
        return next_tensor(made.dtype, made.shape).copy_(made)

    fns = default_collate_fn_map | {of: partial(scalars, default_collate_fn_map[of]) for of in SCALARS}
    fns[Tensor] = tensors
    return Stacked(collate(samples, collate_fn_map=fns), kind)


def gather(parts: Sequence[Stacked], owners: Places, rows: Places) -> Stacked:
    """Return a batch of samples that lie in several batches of one kind.

    Args:
        parts: the batches.
        owners: which of them has each sample of the new batch, shape ``(batch_size,)``.
        rows: the place of each in its batch, shape ``(batch_size,)``.

    Example:
        >>> parts = [Stacked(torch.tensor([7, 8]), (int,)), Stacked(torch.tensor([9]), (int,))]
        >>> gather(parts, np.array([1, 0, 0]), np.array([0, 1, 0])).batch
        tensor([9, 8, 7])
    """
    return Stacked(_gathered([part.batch for part in parts], owners, rows), parts[0].kind)


def is_stacked(parts: Sequence[Any]) -> TypeGuard[Sequence[Stacked]]:
    """Whether all parts are batches, of one kind."""
    return all(isinstance(part, Stacked) and part.kind == parts[0].kind for part in parts)


def block_size(kind: Kind, num_samples: int) -> int:
    """Return the bytes of a block that holds the tensors of so many samples."""
    if kind[0] is Tensor or kind[0] in ARRAYS:
        return aligned(kind[1].itemsize * prod(kind[2]) * num_samples)
    if len(kind) == 1:
        return 0 if kind[0] in TEXTS else aligned(16 * num_samples)  # the largest number is complex
    return sum(block_size(part, num_samples) for part in kind[2])


def _gathered(batches: Any, owners: Places, rows: Places) -> Any:
    first = batches[0]
    of: Any = type(first)
    if of is dict:
        return {name: _gathered([batch[name] for batch in batches], owners, rows) for name in first}
    if of is not Tensor and not isinstance(first[0], TEXTS):
        columns = [_gathered(parts, owners, rows) for parts in zip(*batches, strict=True)]
        return of(*columns) if hasattr(of, "_fields") else columns
    if of is Tensor and first[0].nbytes <= LARGE_ROW:
        starts = np.cumsum([0, *map(len, batches[:-1])])
        return torch.cat(batches)[torch.from_numpy(starts[owners] + rows)]
    picked = [batches[owner][row] for owner, row in zip(owners.tolist(), rows.tolist(), strict=True)]
    return torch.stack(picked) if of is Tensor else of(picked)  # of large rows: each is copied once


def _rows(batch: Any, kind: Kind) -> list[Any]:
    of = kind[0]
    if of is Tensor:
        return list(batch.unbind())
    if of in ARRAYS:
        return [row.numpy() for row in batch.unbind()]
    if of in NUMBERS:
        return batch.tolist()  # type: ignore[no-any-return]
    if of in TEXTS:
        return list(batch)
    if len(kind) == 1:
        return list(batch.numpy())
    _, names, parts = kind
    columns = [_rows(batch[place], part) for place, part in zip(names or range(len(parts)), parts, strict=True)]
    if of is dict:
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    make: Any = getattr(of, "_make", of)
    return [make(values) for values in zip(*columns, strict=True)]
