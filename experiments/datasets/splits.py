"""What a task's data are, whatever they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.errors import UserError


@dataclass(frozen=True)
class Split:
    """Samples in memory: gathering a batch is ``split.take(index)``, the same for every method.

    Attributes:
        inputs: shape ``(N, ...)``: uint8 images or float32 features.
        targets: shape ``(N,)``: int64 classes or float32 values.
        groups: shape ``(N,)``, int64: the group of each sample.
    """

    inputs: Tensor
    targets: Tensor
    groups: Tensor

    def take(self, index: Tensor) -> Split:
        """The samples at ``index``, in its order."""
        return Split(self.inputs[index], self.targets[index], self.groups[index])

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.groups)


@dataclass(frozen=True)
class Data:
    """A task's data: a training part (cut, where the task cuts it) and a test part, which never is."""

    train: Split
    test: Split
    group_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse groups without training samples: no method could give them a share."""
        empty = [name for name, count in zip(self.group_names, self.counts(self.train), strict=True) if not count]
        if empty:
            raise UserError(f"no training samples are left in {', '.join(empty)}; raise the setting 'keep'")

    def counts(self, split: Split) -> list[int]:
        """Samples a group of one of the parts."""
        return torch.bincount(split.groups, minlength=len(self.group_names)).tolist()


def keep_share(groups: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """Cut groups: choose ``int(share * size)`` samples of each at random.

    Args:
        groups: the group of each sample, shape ``(N,)``.
        shares: what each group keeps, in [0, 1].
        rng: where the choice comes from.

    Returns:
        The positions kept, in rising order.

    Example:
        >>> keep_share(np.array([0, 0, 0, 0, 1, 1]), [0.5, 1.0], np.random.default_rng(0)).tolist()
        [0, 2, 4, 5]
    """
    kept = []
    for group, share in enumerate(shares):
        members = np.flatnonzero(groups == group)
        kept.append(rng.permutation(members)[: int(share * len(members))])
    return np.sort(np.concatenate(kept))


def missing(what: str, looked_in: Path, layout: Sequence[str], fetch: str) -> UserError:
    """The one error for data that are not there: where we looked, what should be there, how to get it."""
    expected = "\n".join(f"  {looked_in / line}" for line in layout)
    return UserError(
        f"{what} is not there.\nLooked in: {looked_in.absolute()}\n"
        f"Expected:\n{expected}\nTo get it: {fetch}\n"
        "Another folder: --data-root DIR, or the environment variable LEARN2MIX_DATA."
    )
