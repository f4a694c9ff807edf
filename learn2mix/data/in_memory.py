"""A data set of arrays in memory, whose batches are gathered at once."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from learn2mix.checks import check_function
from learn2mix.data.columns import Column, Columns, Indices
from learn2mix.data.default_device import on_cpu
from learn2mix.data.images import in_turn
from learn2mix.data.reading import read
from learn2mix.data.samples import Samples, row


class InMemory(Dataset[Any]):
    """A ``TensorDataset`` of tensors and arrays that reads a whole batch in one gather per array.

    ``MixedLoader`` and torch's ``DataLoader`` take it without a ``collate_fn``, and get the same batches: a list of
    tensors, or a dict. Arrays keep their type (images of bytes stay bytes) and are not copied; memory maps are read
    from their file, also by worker processes. A ``collate_fn`` gets a sequence of samples; ``default_collate`` of it
    costs nothing.

    Args:
        arrays: tensors, NumPy arrays or memory maps of one length, shape ``(num_samples, ...)``; or one mapping from
            names to them: then samples and batches are dicts.
        transform: changes a whole batch, on its device, each time it is read. It gets the batch of the first array,
            shape ``(batch_size, ...)``, or, where arrays have names, the dict of all; what it returns takes the place
            of that, and holds as many samples. ``torchvision.transforms.v2`` works on batches; its random transforms
            draw once per batch. To draw for each sample, write the transform so that it does, or apply one to each:
            ``lambda images: torch.stack([transform(image) for image in images])``.
        device: where the data live, batches are gathered and ``transform`` runs; None leaves the arrays where they
            are. Data on an accelerator take no worker processes.

    Raises:
        ValueError: if there is no array, or their lengths or devices differ.
        TypeError: if torch has no tensors of such a type.

    Attributes:
        transform: as given.

    Example:
        >>> images, labels = torch.arange(8, dtype=torch.uint8).reshape(4, 2), np.array([0, 1, 0, 1])
        >>> data = InMemory(images, labels, transform=lambda batch: batch / 2)
        >>> data[3]
        (tensor([3.0000, 3.5000]), tensor(1))
        >>> data[[3, 0]]
        (tensor([[3.0000, 3.5000], [0.0000, 0.5000]]), tensor([1, 0]))
    """

    takes_index_arrays = True  # MixedLoader need not make lists of its indices

    def __init__(
        self,
        *arrays: Any,
        transform: Callable[[Any], Any] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        check_function(transform, "transform")
        by_name = len(arrays) == 1 and isinstance(arrays[0], Mapping)
        self.columns = Columns(arrays[0] if by_name else arrays, device)
        self.transform = transform

    @classmethod
    def of(
        cls,
        dataset: Any,
        *,
        transform: Callable[[Any], Any] | None = None,
        device: torch.device | str | None = None,
        num_workers: int = 0,
        progress: bool = True,
    ) -> InMemory:
        """Return a data set in memory with the samples of another.

        The arrays of a ``TensorDataset``, of an ``InMemory`` and of torchvision's MNIST, FashionMNIST, CIFAR10 and
        CIFAR100 are taken as they are; images as bytes, channels first, and ``ToTensor``, ``Normalize``, ``ToImage``,
        ``ToDtype`` and their like are applied to whole batches. ``Subset`` of these copies its rows. Of anything else
        each sample is read once, with its transforms; images are made tensors of bytes, channels first.

        Args:
            dataset: map-style data that fit in memory; every sample has the same structure (a tensor, a tuple of
                tensors and numbers, or a dict of them), shapes and types. One tensor becomes a tuple of one.
            transform: for whole batches, as for ``InMemory``; runs after what the data set does itself.
            device: as for ``InMemory``.
            num_workers: processes that read samples.
            progress: whether to show a progress bar while samples are read, where there is a terminal.

        Raises:
            ValueError: if samples differ in shape, or are random: one draw would be kept for ever.
            TypeError: if a part of a sample can be no tensor.
            RuntimeError: if a sample cannot be read.

        Example:
            >>> from torch.utils.data import Subset, TensorDataset
            >>> whole = TensorDataset(torch.arange(5), torch.arange(5) % 2)
            >>> InMemory.of(Subset(whole, [4, 1]))[:]
            (tensor([4, 1]), tensor([0, 1]))
        """
        with on_cpu():
            columns, found = read(dataset, num_workers, progress)
        made = cls.__new__(cls)
        made.columns = columns if device is None else columns.to(device)
        made.transform = in_turn(found, transform)
        return made

    @property
    def arrays(self) -> tuple[Column, ...] | dict[str, Column]:
        """The arrays, of all samples and before ``transform``: a tuple, or a dict by their names."""
        values = self.columns.named(self.columns.values)
        return values if isinstance(values, dict) else tuple(values)

    @property
    def device(self) -> torch.device:
        """Where batches are gathered."""
        return self.columns.device

    def to(self, device: torch.device | str) -> InMemory:
        """Return the same data on a device."""
        moved: InMemory = type(self).__new__(type(self))
        moved.__dict__.update(self.__dict__ | {"columns": self.columns.to(device)})
        return moved

    def __len__(self) -> int:
        return self.columns.length

    def __getitem__(self, index: Any) -> Any:
        """Return one sample; or, of a slice, a mask or several indices, a whole batch."""
        if isinstance(index, slice) or np.ndim(index):
            batch = self._read(index)
            return batch if isinstance(batch, dict) else tuple(batch)
        return row(self._read([operator.index(index)]), 0)

    def __getitems__(self, indices: Indices) -> Samples:
        """Return the samples at some indices, gathered at once."""
        return Samples(self._read(indices), len(indices))

    def _read(self, indices: Indices | slice) -> list[Any] | dict[str, Any]:
        values: list[Any] = self.columns.gather(indices)  # type: ignore[assignment]
        batch: list[Any] | dict[str, Any] = self.columns.named(values)
        if self.transform is None:
            return batch
        if isinstance(batch, list):
            batch[0] = changed = self.transform(values[0])
        else:
            batch = changed = self.transform(batch)
        _check_length(changed, len(values[0]))
        return batch


def _check_length(changed: Any, num_samples: int) -> None:
    """Raise a ValueError unless a transform returned a batch of as many samples as it got."""
    if isinstance(changed, (Tensor, np.ndarray)):
        if changed.ndim == 0 or len(changed) != num_samples:
            raise ValueError(
                f"transform must return as many samples as it gets, got shape {tuple(changed.shape)} for {num_samples} "
                "samples; it is called with a whole batch, not with one sample"
            )
    elif isinstance(changed, (Mapping, Sequence)) and not isinstance(changed, str):
        for part in changed.values() if isinstance(changed, Mapping) else changed:
            _check_length(part, num_samples)
    else:
        raise ValueError(f"transform must return tensors, or containers of them, got {type(changed).__name__}")
