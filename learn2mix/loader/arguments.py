"""What a loader may be given, and what to give instead."""

from __future__ import annotations

import inspect
import multiprocessing
import warnings
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from learn2mix.batches.sampler import MixedBatchSampler, check_dataset
from learn2mix.checks import check_function, check_whole, did_you_mean
from learn2mix.data.in_memory import InMemory
from learn2mix.streams.stream import MixedStream

MADE_WITH = {"dataset", "batch_sampler", "sampler", "stream", "collate_fn", "zero_lag", "on_error"}
OWN = ("zero_lag", "on_error", "device")  # arguments of MixedLoader that DataLoader does not have


class MadeOnce:
    """Refuses another data set, sampler or ``collate_fn`` once a loader is made, which would have no effect."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in MADE_WITH and name in vars(self):
            raise ValueError(
                f"{type(self).__name__}: {name} cannot be set once the loader is made, as of a DataLoader; make a new "
                "loader, of the same sampler where it stays; another sampler goes on with the mix by "
                "new.load_state_dict(old.state_dict(), strict=False)"
            )
        super().__setattr__(name, value)


def check_kinds(dataset: Any, batch_sampler: Any, zero_lag: bool, collate_fn: Any) -> None:
    """Raise a TypeError or a ValueError unless the data set and the sampler belong together, or it is a stream."""
    check_function(collate_fn, "collate_fn")
    for one, kind in ((dataset, MixedStream), (batch_sampler, MixedBatchSampler)):
        if isinstance(one, kind) and type(one).__iter__ is not kind.__iter__:
            raise TypeError(
                f"MixedLoader: it takes what a {type(one).__name__} composes, and not what its own __iter__ yields; "
                "give it to a DataLoader (as batch_sampler=, a stream with batch_size=None), or do it in collate_fn"
            )
    if isinstance(dataset, MixedStream):
        if batch_sampler is not None or zero_lag or collate_fn is not None:
            raise TypeError(
                "MixedLoader: a MixedStream composes its own batches; it takes no batch_sampler and no zero_lag, and "
                "its collate_fn goes to MixedStream(...)"
            )
    elif not isinstance(batch_sampler, MixedBatchSampler):
        swapped = isinstance(dataset, MixedBatchSampler)
        hint = "the data set comes first" if swapped else "make it: MixedBatchSampler(labels, mixer, batch_size=...)"
        found = type(batch_sampler).__name__
        raise TypeError(f"batch_sampler must be a MixedBatchSampler (or dataset a MixedStream), got {found}; {hint}")
    elif isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"dataset must be map-style, with __getitem__ and __len__, got {type(dataset).__name__}; data that can "
            "only be iterated are mixed by MixedStream({name: source, ...}, mixer, batch_size=...)"
        )
    else:
        check_dataset(dataset, batch_sampler.partition)


def check_loader_args(loader_args: dict[str, Any], num_workers: int) -> dict[str, Any]:
    """Return the arguments that go to torch's loader, or raise a TypeError for one that is not taken."""
    for name, way_out in (
        ("batch_size", "it is the sampler's or the stream's"),
        ("shuffle", "batches are shuffled by the sampler"),
        ("sampler", "pass batch_sampler"),
        ("drop_last", "every batch is whole"),
    ):
        if loader_args.pop(name, None):
            raise TypeError(f"MixedLoader: {name} is not taken; {way_out}")
    known = list(inspect.signature(DataLoader).parameters)
    unknown = [name for name in loader_args if name not in known]
    if unknown:
        hint = did_you_mean(unknown[0], [*known, *OWN])
        raise TypeError(f"MixedLoader: unexpected keyword argument {unknown[0]!r}{hint}")
    if loader_args.get("prefetch_factor") is not None:
        check_whole(loader_args["prefetch_factor"], "prefetch_factor")
    check_function(loader_args.get("worker_init_fn"), "worker_init_fn")
    context = loader_args.get("multiprocessing_context")
    if isinstance(context, str):
        loader_args["multiprocessing_context"] = multiprocessing.get_context(context) if num_workers else None
    others = {name: value for name, value in loader_args.items() if name != "persistent_workers"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those come where the loader is used
        DataLoader(range(1), num_workers=num_workers, **others)  # type: ignore[arg-type]  # torch's own checks
    return loader_args


def warn_of_changes(dataset: Any, before: dict[str, Any]) -> dict[str, Any]:
    """Warn of settings of a data set that are others than ``before``, and return them: kept workers do not see them.

    Settings are public numbers, strings and functions, also of the data set that a ``Subset`` is of.
    """
    settings: dict[str, Any] = {}
    while dataset is not None and not isinstance(dataset, MixedStream):
        own, kind = getattr(dataset, "__dict__", {}), type(dataset).__name__
        settings |= {f"{kind}.{name}": value for name, value in own.items() if _is_setting(name, value)}
        dataset = own.get("dataset")
    changed = [name for name, value in settings.items() if before.get(name, value) != value == value]  # no NaN
    if changed:
        warnings.warn(
            f"MixedLoader: {', '.join(changed)} changed since the worker processes were started, which are kept "
            "(zero_lag, persistent_workers) and do not see it; call loader.close() after such a change, and the next "
            "epoch starts new ones, or hold it in a multiprocessing.Value",
            stacklevel=5,
        )
    return settings


def _is_setting(name: str, value: Any) -> bool:
    return not name.startswith("_") and (isinstance(value, (bool, int, float, str)) or callable(value))


def place(dataset: Any, device: torch.device | str | None, num_workers: int, pin_memory: bool) -> Any:
    """Return a data set whose batches are gathered on the device, if it is an :class:`InMemory`.

    A memory map stays in its file: it may be larger than the device.

    Raises:
        ValueError: if it was to be gathered there by workers, or into pinned memory.
    """
    device = None if device is None else torch.device(device)  # an error where it is none
    if not isinstance(dataset, InMemory):
        return dataset
    where = dataset.device if device is None or dataset.columns.mapped else device
    if where.type == "cpu":
        return dataset
    if num_workers:
        raise ValueError(
            f"num_workers must be 0 where an InMemory is on {where}, for its batches are gathered there, got "
            f"{num_workers}; for workers, leave out device= and move each batch in the loop"
        )
    if pin_memory:
        raise ValueError(f"pin_memory must be False where an InMemory is on {where}: its batches are there already")
    return dataset.to(where)
