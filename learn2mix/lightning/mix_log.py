"""What loggers and other callbacks are told of the mix, and under which names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any
from unicodedata import combining, normalize

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer

from learn2mix.checks import Counts, Vector, check_whole
from learn2mix.lightning import internals
from learn2mix.lightning.finding import Mixed

LONGEST_TAG = 100  # characters; MLflow takes names of 250


class MixLog:
    """Tells loggers, and callbacks through ``self.log``, of the batches since the last entry.

    Loggers get an entry where Lightning writes its own, and directly: ``self.log`` takes 0.3 ms per value, and 0.1 ms
    more per step for what an epoch has logged before. So it gets all values only at the end of an epoch and before a
    validation run, which is when callbacks look, and at every batch those that a callback monitors.

    What the batches since the last entry were asked to be is told by what they were, and what is owed to the groups
    since: so a batch without an entry costs next to nothing.

    Args:
        trainer: whose callbacks may monitor a value.
        sampler: whose groups are logged.
        log_groups: as :class:`MixingCallback` takes it.
    """

    def __init__(self, trainer: Trainer, sampler: Mixed, log_groups: int | Sequence[Any] | None) -> None:
        tags = tags_of(sampler.group_names)
        self._tags = {group: tags[group] for group in _groups_to_log(sampler.group_names, log_groups)}
        self._monitored = monitored_by(trainer)
        every_epoch = isinstance(trainer.val_check_interval, float) and trainer.val_check_interval == 1.0  # type: ignore[attr-defined]
        self._validates_midway = trainer.enable_validation and not every_epoch
        self._from: tuple[Counts, Vector] | None = None  # draws and credit when the last entry was written

    def add(self, trainer: Trainer, pl_module: LightningModule, sampler: Mixed, batch_idx: int) -> None:
        """Tell of the mix after a batch whom it concerns."""
        if self._from is None:
            if (first := sampler.last_observed) is None:
                return
            self._from = first.draws, first.credit
        last = trainer.is_last_batch
        writes = _loggers_write(trainer, batch_idx, last)
        looked_at = last or (self._validates_midway and (trainer.should_stop or internals.validation_follows(trainer)))
        if not (writes or looked_at or self._monitored):
            return
        entry, now = self._make_entry(sampler)
        names = entry.keys() if looked_at else self._monitored & entry.keys()
        for name in names if not trainer.barebones else ():
            value = torch.tensor(entry[name], dtype=torch.float64, device="cpu")
            pl_module.log(name, value, logger=False, on_step=True, on_epoch=False, batch_size=sampler.batch_size)
        if writes:
            self._from = now
            for logger in trainer.loggers:
                values = entry | {"epoch": trainer.current_epoch}
                logger.log_metrics(values, step=internals.num_batches_stepped(trainer))

    def _make_entry(self, sampler: Mixed) -> tuple[dict[str, float], tuple[Counts, Vector]]:
        """Return the values by name, and draws and credit after the batch observed last."""
        batch = sampler.last_observed
        assert batch is not None
        assert self._from is not None
        credit = batch.credit + (batch.proportions * batch.size - batch.counts)
        given = batch.drawn - self._from[0]
        requested, realised = (given + (credit - self._from[1])) / given.sum(), given / given.sum()
        present = requested[requested > 0]
        entry = {"mix/entropy": float(-(present * np.log(present)).sum()), "mix/lag": float(sampler.lag)}
        for name, values in (("requested", requested), ("realised", realised), ("loss", sampler.group_losses)):
            entry |= self._by_group(f"mix/{name}", values)
        return entry, (batch.drawn, credit)

    def _by_group(self, prefix: str, values: Vector) -> dict[str, float]:
        known = np.flatnonzero(~np.isnan(values)).tolist()  # a group not seen has no loss to log
        if self._tags:
            return {f"{prefix}/{self._tags[group]}": float(values[group]) for group in known if group in self._tags}
        extremes: list[tuple[str, Callable[..., int]]] = [("min", min), ("max", max)]
        entry: dict[str, float] = {}
        for extreme, find in extremes if known else []:
            group = find(known, key=values.__getitem__)
            entry |= {f"{prefix}/{extreme}": float(values[group]), f"{prefix}/{extreme}_group": float(group)}
        return entry


def _loggers_write(trainer: Trainer, batch_idx: int, last: bool) -> bool:
    """Whether Lightning writes its own entries after this batch, the last of an epoch or not."""
    every = trainer.log_every_n_steps  # type: ignore[attr-defined]
    if not every or (not last and (batch_idx + 1) % trainer.accumulate_grad_batches != 0):
        return False
    return bool((internals.num_batches_stepped(trainer) + 1) % every == 0 or trainer.should_stop)


def monitored_by(trainer: Trainer) -> set[str]:
    """Return what the callbacks monitor of the mix: ``EarlyStopping(monitor="mix/entropy")``."""
    found = (getattr(callback, "monitor", None) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    return {name for name in found if isinstance(name, str) and name.startswith("mix/")}


def check_log_groups(value: Any) -> int | Sequence[Any] | None:
    """Return ``log_groups``, or raise a TypeError or a ValueError."""
    if value is None or (isinstance(value, Sequence) and not isinstance(value, str)):
        return value
    return check_whole(value, "log_groups", minimum=0)


def _groups_to_log(names: list[Any], log_groups: int | Sequence[Any] | None) -> list[int]:
    """Return the numbers of the groups that have entries of their own; none where only the extremes are logged."""
    if log_groups is None or isinstance(log_groups, int):
        return list(range(len(names))) if log_groups is None or len(names) <= log_groups else []
    unknown = [name for name in log_groups if name not in names]
    if unknown:
        raise ValueError(f"log_groups: there is no group {unknown[0]!r}; the groups are {names[:20]}")
    return [number for number, name in enumerate(names) if name in log_groups]


def tags_of(names: Sequence[Any]) -> list[str]:
    """Return a name for each group that every logger takes as it is, no two the same, and numbers in their order.

    Letters lose their accents; what is then no ASCII letter, digit, ``_``, ``-`` or ``.`` becomes ``_`` (MLFlowLogger
    would drop it); whole numbers get leading zeros. Where two come out the same the second gets ``-2``, and where
    nothing is left the group goes by its number.

    Example:
        >>> tags_of([0, 7, 10])
        ['00', '07', '10']
        >>> tags_of([1, "1", "hot dog", "hot/dog", ("café", 2), "犬"])
        ['1', '1-2', 'hot_dog', 'hot_dog-2', 'cafe-2', 'group-5']
    """
    width = max((len(str(abs(name))) for name in names if isinstance(name, int)), default=0)
    tags: dict[str, None] = {}
    for group, name in enumerate(names):
        parts = name if isinstance(name, tuple) else (name,)
        text = "-".join(f"{part:0{width}d}" if isinstance(part, int) else str(part) for part in parts)
        letters = "".join(char for char in normalize("NFKD", text) if not combining(char))
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", letters)[:LONGEST_TAG]
        tag = plain = plain if re.search("[A-Za-z0-9]", plain) else f"group-{group}"
        number = 2
        while tag in tags:
            tag, number = f"{plain}-{number}", number + 1
        tags[tag] = None
    return list(tags)
