"""From the losses of the batches to the mixer: pooled, and handed over when an update is due."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from learn2mix.checks import as_losses
from learn2mix.feedback.group_losses import GroupLosses, PendingMeans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from learn2mix.checks import Counts, Vector
    from learn2mix.mixers import Mixer

__all__ = ["Feedback", "check_group_losses", "check_groups", "check_losses"]


class Feedback:
    """Pools the losses of observed batches and moves the mixer by them.

    Args:
        mixer: an attached mixer.
        group_names: one name a group.
        alike: returns what, besides the mix, must be the same on every process, as numbers by name.

    Attributes:
        group_losses: mean loss of each group at the last update, shape ``(num_groups,)``, NaN where unknown.
    """

    def __init__(
        self, mixer: Mixer, group_names: Sequence[int | str], alike: Callable[[], dict[str, int]] = dict
    ) -> None:
        self.mixer, self._alike = mixer, alike
        self.group_losses: Vector = np.full(len(group_names), np.nan)
        self._pool = GroupLosses(group_names)
        self._on_its_way: PendingMeans | None = None
        self._num_batches = 0  # observed since the last update

    def add(self, losses: Tensor, groups: NDArray[np.int64], counts: Counts, batch: int, num_replicas: int) -> None:
        """Add the losses of one batch; the arguments and errors are those of ``GroupLosses.add``."""
        self._pool.add(losses, groups, counts, batch, num_replicas)

    def step(self, num_replicas: int, epoch_ended: bool) -> None:
        """Count an observed batch, and update the mix if that is due."""
        self._num_batches += 1
        self._arrive()
        if self.mixer.due(self._num_batches, epoch_ended):
            self._send(num_replicas)
        if epoch_ended:
            self._arrive()

    def end_epoch(self, num_replicas: int) -> None:
        """End an epoch of which the last batch was never observed."""
        if self._num_batches and self.mixer.due(self._num_batches, epoch_ended=True):
            self._arrive()
            self._send(num_replicas)
        self._arrive()

    def _send(self, num_replicas: int) -> None:
        alike = {"mix": zlib.crc32(self.mixer.proportions.tobytes())} | self._alike() if num_replicas > 1 else {}
        self._on_its_way, self._num_batches = self._pool.send(num_replicas, alike), 0
        if self._on_its_way.arrived:
            self._arrive()

    def _arrive(self) -> None:
        if self._on_its_way is not None:
            sums, self._on_its_way = self._on_its_way, None
            means = sums.means()
            if np.isnan(means).all():
                return  # of none of these batches the losses are known
            self.group_losses = means
            self.mixer.update(means)

    def state_dict(self, num_replicas: int) -> dict[str, Any]:
        """Return numbers and tensors only, the mixer's state among them; the same on every process.

        Between two updates the losses are summed over processes for it, so then all of them must ask.
        """
        return {
            "mixer": self.mixer.state_dict(),
            "pool": self._pool.state_dict(num_replicas if self._num_batches else 1),
            "on_its_way": None if self._on_its_way is None else self._on_its_way.state_dict(),
            "num_batches": self._num_batches,
            "group_losses": torch.from_numpy(self.group_losses.copy()),
        }

    def load_state_dict(self, state: dict[str, Any], rank: int) -> None:
        """Restore what :meth:`state_dict` returned, on the process of this rank.

        Raises:
            ValueError: if the state is of another mixer; nothing is changed then.
        """
        self.mixer.load_state_dict(state["mixer"])
        self._pool.load_state_dict(state["pool"], rank)
        self._on_its_way = None if state["on_its_way"] is None else self._pool.restore(state["on_its_way"])
        self._num_batches = state["num_batches"]
        self.group_losses = state["group_losses"].numpy().copy()


def check_losses(losses: Tensor | ArrayLike, batch_size: int) -> Tensor:
    """Return the losses of a batch as a detached tensor of shape ``(batch_size,)``, or raise a ValueError."""
    if isinstance(losses, (list, tuple)) and any(isinstance(loss, torch.Tensor) for loss in losses):
        losses = torch.stack([torch.as_tensor(loss) for loss in losses])
    losses = losses.detach() if isinstance(losses, torch.Tensor) else torch.as_tensor(np.asarray(losses))
    if losses.shape != (batch_size,):
        raise ValueError(
            f"losses must be one value a sample, shape ({batch_size},), got shape {tuple(losses.shape)}"
            f"{_way_out(tuple(losses.shape), batch_size)}"
        )
    return losses if losses.is_floating_point() else losses.float()


def _way_out(shape: tuple[int, ...], batch_size: int) -> str:
    if shape in ((), (1,)):
        return '; make the criterion with reduction="none"'
    if shape == (batch_size, 1):
        return "; give losses.squeeze(1)"
    if shape == (1, batch_size):
        return "; give losses.squeeze(0), or for a MixedStream make the loader with DataLoader(stream, batch_size=None)"
    if shape[0] == batch_size:
        return "; average each sample's: losses.flatten(1).mean(1)"
    if len(shape) == 1 and shape[0] < batch_size:
        return "; concatenate those of its micro-batches"
    return "" if shape[0] % batch_size else f"; average each sample's: losses.view({batch_size}, -1).mean(1)"


def check_groups(groups: Tensor | ArrayLike, batch_size: int, num_groups: int) -> Tensor:
    """Return the groups of a batch as an int64 tensor of shape ``(batch_size,)``.

    Raises:
        ValueError: if there is not one a sample, or one is out of range.
        TypeError: if they are not whole numbers.
    """
    try:
        numbers = torch.as_tensor(groups)
        found = str(numbers.dtype).removeprefix("torch.")
    except (TypeError, ValueError, RuntimeError):
        numbers, found = None, repr(groups)
    if numbers is None or numbers.is_floating_point() or numbers.is_complex():
        raise TypeError(f"groups must be the numbers of the groups, whole numbers from 0, and not labels; got {found}")
    if numbers.shape != (batch_size,):
        raise ValueError(f"groups must be one number a sample, shape ({batch_size},), got {tuple(numbers.shape)}")
    if numbers.device.type != "cpu" or not batch_size:
        return numbers.long()  # an accelerator does not wait for the host, and finds an index out of range by itself
    least, largest = int(numbers.min()), int(numbers.max())
    if least < 0 or largest >= num_groups:
        raise ValueError(f"groups must lie in [0, {num_groups}), got {least} to {largest}; numbers, and not labels")
    return numbers.long()


def check_group_losses(group_losses: Tensor | ArrayLike | None, num_groups: int) -> Vector | None:
    """Return the validation losses of the groups as a vector of shape ``(num_groups,)``, or raise a ValueError."""
    if isinstance(group_losses, torch.Tensor):
        group_losses = group_losses.detach().cpu().double().numpy()
    return None if group_losses is None else as_losses(group_losses, num_groups, "group_losses")
