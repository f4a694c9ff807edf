"""From the losses of the batches to the mixer: pooled, and handed over when an update is due."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learn2mix.checks import Counts, Vector, frozen
from learn2mix.feedback.group_losses import (
    GroupLosses,
    check_group_losses,
    check_groups,
    check_losses,
    describe_bad_batch,
    sum_batch,
)
from learn2mix.feedback.pending import BatchSums, PendingSums, differences, sum_over_processes
from learn2mix.feedback.processes import Processes
from learn2mix.mixers import Mixer
from learn2mix.mixers.base import load_state, state_of
from learn2mix.mixers.info import MixInfo, takes_info

__all__ = ["Drawn", "Feedback", "check_group_losses", "check_groups", "check_losses"]

NEVER = (1 << 63) - 1  # in a state of version 1: no batch had unusable losses


class Drawn(NamedTuple):
    """A batch as its mixer is told of it; what the fields mean is said in :class:`~learn2mix.mixers.info.MixInfo`."""

    proportions: Vector
    draws: Counts  # up to this batch
    sizes: Vector
    batch_size: int


class Feedback:
    """Pools the losses of observed batches and moves the mixer by them.

    Several processes sum the losses of each batch, which begins when it is observed; so the state of each is whole at
    any time, and no process needs another to save it. An accelerator is not waited for: its sums arrive, and an update
    that was due is made, when the next batch is observed, or at the end of the epoch.

    Args:
        mixer: an attached mixer; an update waits until its ``min_groups`` were seen since the last.
        group_names: one name per group.
        processes: those that share each batch.
    """

    def __init__(self, mixer: Mixer, group_names: Sequence[int | str], processes: Processes) -> None:
        self.mixer, self._names, self._processes = mixer, group_names, processes
        self._signed = getattr(mixer, "signed", False)
        self.num_updates = 0
        self._mix_sum: Vector = np.zeros(len(group_names))  # of the batches observed since the last update
        self._drawn = Drawn(mixer.prior, np.zeros(len(group_names), dtype=np.int64), mixer.sizes, 0)  # at the last one
        self._losses = GroupLosses(len(group_names))  # since the last update
        self._num_observed = 0  # batches, since the last update
        self._update_due = False  # once what is pending has arrived
        self._group_losses = frozen(np.full(len(group_names), np.nan))
        self._sums: Tensor | None = None  # of the batch that is being observed
        self._batch: int | None = None  # its number
        self._device: torch.device | None = None  # of the last losses
        self._pending: PendingSums | None = None  # of the batch before
        self._error: str | None = None  # arrived, and to be raised by all processes at the next batch
        self._apart: dict[str, int] | None = None  # so too: what had to match, and does not

    def __getstate__(self) -> dict[str, Any]:
        self._arrive()  # what is under way cannot be copied
        return self.__dict__.copy()

    @property
    def group_losses(self) -> Vector:
        """Mean loss of each group at the last update, shape ``(num_groups,)``, NaN where unknown, read-only."""
        return self._group_losses

    def add(self, losses: Tensor, groups: NDArray[np.int64], *, batch: int, weights: Tensor | None = None) -> None:
        """Add the losses of a batch.

        A single process on a CPU finds a loss that cannot be used at once. An accelerator does not wait for the host,
        and of many processes all or none must stop: there :meth:`step` raises the error, once the sums are there.

        Args:
            losses: those that this process knows, shape ``(num_samples,)``, any device, detached; may be none.
            groups: number of the group of each, shape ``(num_samples,)``, in [0, num_groups).
            batch: number of the batch, for the errors.
            weights: what each sample counts (its tokens), at least 0, shape ``(num_samples,)``; None: 1 each.

        Raises:
            ValueError: if a loss or a weight is negative, NaN or infinite; nothing is added then.
        """
        if not len(groups):
            return
        sums = sum_batch(losses, groups, weights, len(self._names), signed=self._signed)
        shared = self._processes.shared
        if not shared and sums.device.type == "cpu":
            error = self._accumulate(BatchSums(sums.numpy(), batch))
            if error is not None:
                raise ValueError(error)
            return
        self._sums = sums if self._sums is None else self._sums + sums.to(self._sums.device)
        self._batch, self._device = batch, losses.device

    def step(self, epoch_ended: bool, must_match: dict[str, int], drawn: Drawn | None = None) -> None:
        """Count an observed batch, and update the mix if that is due.

        Every process calls it for every batch, also for one of which it added no losses.

        Args:
            epoch_ended: whether the batch is the last of its epoch.
            must_match: what, besides the mix, must be the same on every process, by name.
            drawn: what the mixer is told of the batch.

        Raises:
            ValueError: if a loss or a weight was negative, NaN or infinite, on any process; that batch is left out.
            RuntimeError: if something that must be the same on every process is not, or it is not known which
                processes share the batch.
        """
        self._settle()
        self._raise_if_apart()
        self._num_observed += 1
        self._drawn = drawn or self._drawn
        self._mix_sum = self._mix_sum + self._drawn.proportions
        self._send(must_match)
        self._raise_error()
        self._update_due = bool(self.mixer.due(self._num_observed, epoch_ended))
        late = self._pending is not None and self._pending.late
        if epoch_ended or (self._update_due and not late):
            self._settle(epoch_ended)
            self._raise_if_apart()
            self._raise_error()

    def end_epoch(self, must_match: dict[str, int]) -> None:
        """End an epoch of which the last batch was never observed; the arguments and errors are those of ``step``."""
        del must_match  # of the last batch that was observed it has travelled already
        self._settle(epoch_ended=True)
        self._raise_if_apart()
        self._raise_error()
        if self._num_observed and self.mixer.due(self._num_observed, epoch_ended=True):
            self._update()

    def _send(self, must_match: dict[str, int]) -> None:
        """Send the sums of the batch on their way."""
        sums, batch = self._sums, self._batch
        self._sums = self._batch = None
        if self._processes.shared:
            if sums is None:
                sums = torch.zeros(2 * len(self._names), dtype=torch.float64, device="cpu")
            must_match = {"mix": zlib.crc32(np.asarray(self.mixer.proportions).tobytes())} | must_match
            self._pending = sum_over_processes(sums, batch, must_match, self._processes, self._device)
        elif sums is not None:
            self._pending = PendingSums(sums, batch)

    def _arrive(self) -> None:
        """Wait for the sums that are on their way. No collective, and raises nothing that only one process would."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            read = pending.read()
            self._apart, self._error = read.apart, self._accumulate(read)

    def _accumulate(self, read: BatchSums) -> str | None:
        """Add the sums of a batch; where they cannot be used nothing is added, and the error is returned."""
        error = describe_bad_batch(self._names, read.table, read.batch)
        if error is None and not self._losses.add(read.table):
            return "losses must be finite when summed over the batches of an update, but are too large; the mix stays"
        return error

    def _settle(self, epoch_ended: bool = False) -> None:
        """Wait for the sums that are on their way, and make the update that was due."""
        self._arrive()
        due, self._update_due = self._update_due, False
        enough = epoch_ended or self._losses.num_seen >= getattr(self.mixer, "min_groups", 1)
        if due and enough and self._error is None and self._apart is None:
            self._update()

    def _update(self) -> None:
        (means, counts), num_observed, self._num_observed = self._losses.pop(), max(self._num_observed, 1), 0
        mix, self._mix_sum = self._mix_sum / num_observed, np.zeros_like(self._mix_sum)
        if np.isnan(means).all():  # of none of these batches the losses are known
            return
        self._group_losses = frozen(means)
        if takes_info(self.mixer.update, num_others=1):
            _, draws, sizes, batch_size = self._drawn
            self.mixer.update(means.copy(), MixInfo(counts, mix, draws, sizes, batch_size, self.num_updates))
        else:
            self.mixer.update(means.copy())
        self.num_updates += 1

    def _raise_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise ValueError(error)

    def _raise_if_apart(self) -> None:
        if self._apart is not None:
            # All processes have read the same sums, so all come here.
            found = differences(self._processes.all_gather(self._apart))
            self._apart = None
            if found is not None:
                raise RuntimeError(found)

    def state_dict(self) -> dict[str, Any]:
        """Return numbers, strings, lists and tensors; the same on every process, of which any may ask alone."""
        self._arrive()
        return {
            "mixer": state_of(self.mixer),
            "pool": self._losses.state_dict(),
            "num_observed": self._num_observed,
            "num_updates": self.num_updates,
            "mix_sum": self._mix_sum.tolist(),
            "draws": self._drawn.draws.tolist(),
            "update_due": self._update_due,
            "error": self._error,
            "group_losses": [None if np.isnan(loss) else loss for loss in self._group_losses.tolist()],
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
        self._losses.load_state_dict(state["pool"])
        self._num_observed, self._update_due = state["num_observed"], state["update_due"]
        self.num_updates = state.get("num_updates", 0)
        self._mix_sum = np.array(state.get("mix_sum", [0.0] * found))
        self._drawn = self._drawn._replace(draws=np.array(state.get("draws", [0] * found), dtype=np.int64))
        losses = [np.nan if loss is None else loss for loss in state["group_losses"]]
        self._group_losses = frozen(np.array(losses, dtype=np.float64))
        self._error, self._apart, self._pending, self._sums, self._batch = state["error"], None, None, None, None


def _from_version_1(state: dict[str, Any], names: Sequence[int | str]) -> dict[str, Any]:
    """Return the state of today that goes on as one of version 1 did: with tensors, and bad losses in the sums."""
    pending = state["on_its_way"]
    pool = state["pool"] if pending is None else pending
    sums, counts, first_bad = (pool[name].cpu().numpy() for name in ("sums", "counts", "spoilt"))
    bad, batch = ~np.isfinite(sums), first_bad.min()
    of_earliest = np.concatenate([np.where(first_bad == batch, sums, 0.0), counts])
    error = None if batch == NEVER else describe_bad_batch(names, of_earliest, int(batch))
    return {
        "mixer": state["mixer"],
        "pool": {"sums": np.where(bad, 0.0, sums), "counts": np.where(bad, 0, counts)},
        "num_observed": state["num_batches"],
        "update_due": pending is not None,
        "error": error,
        "group_losses": [None if np.isnan(loss) else loss for loss in state["group_losses"].cpu().tolist()],
    }
