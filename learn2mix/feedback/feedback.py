"""From the losses of the batches to the mixer: pooled, and handed over when an update is due."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learn2mix.checks import Counts, Vector, frozen
from learn2mix.feedback.group_losses import (
    describe_bad_batch,
    sum_on_device,
    sum_on_host,
    to_device,
)
from learn2mix.feedback.pending import Pending, describe_differences, send_to_host, sum_over_processes
from learn2mix.feedback.pool import Drawn, Pool
from learn2mix.feedback.processes import Processes
from learn2mix.mixers import Mixer
from learn2mix.mixers.base import load_state, state_of
from learn2mix.mixers.info import call

NEVER = (1 << 63) - 1  # in a state of version 1: no batch had unusable losses

Hear = Callable[[Vector, Vector], None]  # (sums, counts) of the losses of an update, by group


class Feedback:
    """Pools the losses of observed batches and moves the mixer by them.

    Several processes sum the losses of each batch when it is observed; so the state of each is whole at any time. An
    accelerator is not waited for: its sums arrive, and a due update is made, at the next batch or the epoch's end.

    The mixer is attached. An update waits until ``min_groups`` of its groups were seen since the last; ``hear`` is told
    of the losses of each.
    """

    def __init__(
        self, mixer: Mixer, group_names: Sequence[Any], processes: Processes, hear: Hear | None = None
    ) -> None:
        self.mixer, self._names, self._processes, self._hear = mixer, group_names, processes, hear
        self._signed, self._min_groups = getattr(mixer, "signed", False), getattr(mixer, "min_groups", 1)
        self.num_updates = 0
        self._pool = Pool(Drawn(mixer.prior, np.zeros(len(group_names), dtype=np.int64), mixer.sizes, 0))
        self._update_due = False  # once what is pending has arrived
        self.group_losses: Vector = frozen(np.full(len(group_names), np.nan))  # means at the last update; NaN: unknown
        self._sums: Tensor | None = None  # of the batch that is being observed
        self._sent: Pending | None = None  # or, of a single process, what it sent from an accelerator
        self._batch: int | None = None  # its number
        self._device: torch.device | None = None  # of the last losses
        self._pending: Pending | None = None  # of the batch before
        self._error: str | None = None  # arrived, and to be raised by all processes at the next batch
        self._apart: dict[str, int] | None = None  # so too: what had to match, and does not

    def __getstate__(self) -> dict[str, Any]:
        self._arrive()  # what is under way cannot be copied
        return self.__dict__.copy()

    def add(
        self,
        losses: Tensor,
        groups: NDArray[np.int64],
        *,
        batch: int,
        weights: Tensor | None = None,
        counts: Counts | None = None,
    ) -> None:
        """Add the losses of a batch, before its :meth:`step`; those of no batch before :meth:`keep`.

        A single process on a CPU finds a loss that cannot be used at once. An accelerator does not wait for the host,
        and of many processes all or none must stop: there :meth:`step` raises the error, once the sums are there.

        Args:
            losses: those that this process knows, shape ``(num_samples,)``, any device, detached; may be none.
            groups: number of the group of each, shape ``(num_samples,)``, in [0, num_groups).
            batch: number of the batch, for the errors.
            weights: what each sample counts (its tokens), at least 0, shape ``(num_samples,)``; None: 1 each.
            counts: of the losses by group, where they are known and have no weights.

        Raises:
            ValueError: if a loss or a weight is negative, NaN or infinite; nothing is added then.
        """
        if not len(groups):
            return
        shared, num_groups, signed = self._processes.shared, len(self._names), self._signed
        if losses.is_cpu:
            found = sum_on_host(losses, groups, num_groups, weights=weights, counts=counts, signed=signed)
            if not shared:
                if (error := self._accumulate(*found, batch)) is not None:
                    raise ValueError(error)
                return
            sums = torch.from_numpy(np.concatenate(found))
        elif shared:
            sums = sum_on_device(losses, groups, num_groups, weights=weights, signed=signed)
        else:
            self._sent = send_to_host(losses, groups, num_groups, batch, weights=weights, counts=counts, signed=signed)
            return
        if self._sums is not None:  # of a part that came when its batch was counted
            sums = sums + to_device(self._sums, sums.device)
        self._sums, self._batch, self._device = sums, batch, losses.device

    def keep(self) -> None:
        """Pool what was added for no batch (its second part); many processes send it with the sums of the next one."""
        if self._sent is not None:
            self._settle()  # the update that was due before
            sent, self._sent = self._sent, None
            self._error = self._accumulate(*sent.read()[:3]) or self._error
            self._raise_error()

    def step(self, epoch_ended: bool, must_match: Callable[[], dict[str, int]], drawn: Drawn | None = None) -> None:
        """Count an observed batch, and update the mix if that is due.

        Every process calls it for every batch, also for one of which it added no losses.

        Args:
            epoch_ended: whether the batch is the last of its epoch.
            must_match: returns what, besides the mix, must be the same on every process, by name.
            drawn: what the mixer is told of the batch.

        Raises:
            ValueError: if a loss or a weight was negative, NaN or infinite, on any process; that batch is left out.
            RuntimeError: if something that must be the same on every process is not, or it is not known which
                processes share the batch.
        """
        if self._pending is not None or self._update_due or self._apart is not None:
            self._settle()
        self._pool.count(drawn)
        if self._processes.shared:
            self._sum(must_match)
        elif self._sent is not None:
            self._pending, self._sent = self._sent, None
        self._raise_error()
        self._update_due = bool(self.mixer.due(self._pool.num_observed, epoch_ended))
        if epoch_ended or (self._update_due and not getattr(self._pending, "late", False)):
            self._settle(epoch_ended)
            self._raise_error()

    def end_epoch(self) -> None:
        """End an epoch whose last batch was never observed; raises what ``step`` raises."""
        self._settle(epoch_ended=True)
        self._raise_error()
        if self._pool.num_observed and self.mixer.due(self._pool.num_observed, True):
            self._update()

    def _sum(self, must_match: Callable[[], dict[str, int]]) -> None:
        nothing = torch.zeros(2 * len(self._names), dtype=torch.float64, device="cpu")
        sums, batch, self._sums, self._batch = self._sums, self._batch, None, None
        matching = with_mix(self.mixer, must_match())
        self._pending = sum_over_processes(
            nothing if sums is None else sums, batch, matching, self._processes, self._device
        )

    def _arrive(self) -> None:
        """Wait for the sums that are on their way. No collective, and raises nothing that only one process would."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            read = pending.read()
            self._apart, self._error = read.apart, self._accumulate(*read[:3])

    def _accumulate(self, sums: Vector, counts: Vector | Counts, batch: int) -> str | None:
        """Add the sums of a batch; where they cannot be used nothing is added, and the error is returned."""
        if self._pool.add(sums, counts):
            return None
        too_large = "losses must be finite when summed over the batches of an update, but are too large; the mix stays"
        return describe_bad_batch(self._names, sums, counts, batch) or too_large

    def _settle(self, epoch_ended: bool = False) -> None:
        """Wait for the sums that are on their way, and make the update that was due."""
        self._arrive()
        due, self._update_due = self._update_due and self._error is None and self._apart is None, False
        if due and (epoch_ended or self._pool.num_seen >= self._min_groups):
            self._update()
        if self._apart is not None:  # all processes have read the same sums, so all come here
            found = describe_differences(dict(enumerate(self._processes.all_gather(self._apart))))
            self._apart = None
            if found is not None:
                raise RuntimeError(found)

    def _update(self) -> None:
        popped = self._pool.pop(self.num_updates)
        if popped is None:
            return
        sums, means, told = popped
        self.group_losses = frozen(means)
        if self._hear is not None:
            self._hear(sums, told.counts)
        call(self.mixer.update, means.copy(), info=told)
        self.num_updates += 1

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise ValueError(error)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers, strings, lists and tensors; the same on every process, of which any may ask alone."""
        self._arrive()
        _warn_of_a_part(self._sums)
        return {
            "mixer": state_of(self.mixer),
            **self._pool.state_dict(),
            "num_updates": self.num_updates,
            "update_due": self._update_due,
            "error": self._error,
            "group_losses": [None if np.isnan(loss) else loss for loss in self.group_losses.tolist()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned, on any number of processes; also a state of version 1.

        Raises:
            ValueError: if the state is of another mixer or of other groups; nothing is changed then.
        """
        if "on_its_way" in state:
            state = _from_version_1(state, self._names)
        found = len(state["group_losses"])
        if found != len(self._names):
            raise ValueError(f"state: it is of {found} groups, but there are {len(self._names)}")
        load_state(self.mixer, state["mixer"])
        self._pool.load_state_dict(state)
        self._update_due, self.num_updates = state["update_due"], state.get("num_updates", 0)
        losses = [np.nan if loss is None else loss for loss in state["group_losses"]]
        self.group_losses = frozen(np.array(losses, dtype=np.float64))
        self._error, self._apart, self._pending = state["error"], None, None
        self._sums = self._sent = self._batch = None


def with_mix(mixer: Mixer, must_match: dict[str, int]) -> dict[str, int]:
    """Return the mix as well as what else must be the same on every process."""
    return {"mix": zlib.crc32(np.asarray(mixer.proportions).tobytes())} | must_match


def _warn_of_a_part(sums: Tensor | None) -> None:
    """Warn where a state lacks losses that only this process knows."""
    if sums is not None:
        warnings.warn(
            "state_dict: it lacks losses of a part of a batch, observed after the batch was counted, which are summed "
            "over the processes with those of the next one; observe all parts of a batch in one call (torch.cat)",
            stacklevel=4,
        )


def _from_version_1(state: dict[str, Any], names: Sequence[int | str]) -> dict[str, Any]:
    """Return the state of today that goes on as one of version 1 did: with tensors, and bad losses in the sums."""
    pending = state["on_its_way"]
    pool = state["pool"] if pending is None else pending
    sums, counts, first_bad = (pool[name].cpu().numpy() for name in ("sums", "counts", "spoilt"))
    bad, batch = ~np.isfinite(sums), first_bad.min()
    of_earliest = np.where(first_bad == batch, sums, 0.0)
    error = None if batch == NEVER else describe_bad_batch(names, of_earliest, counts, int(batch))
    return {
        "mixer": state["mixer"],
        "pool": {"sums": np.where(bad, 0.0, sums), "counts": np.where(bad, 0, counts)},
        "num_observed": state["num_batches"],
        "update_due": pending is not None,
        "error": error,
        "group_losses": [None if np.isnan(loss) else loss for loss in state["group_losses"].cpu().tolist()],
    }
