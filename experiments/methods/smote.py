"""SMOTE (Chawla et al., arXiv 1106.1813): rare groups are filled up with samples between neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.context import Context
from experiments.methods.method import Method

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from experiments.datasets.splits import Data
    from experiments.tasks.task import Task

NEIGHBOURS = 5  # imbalanced-learn's own


class Smote(Method):
    """Before training, every group is oversampled to the size of the largest; an epoch stays as long as without.

    Images are interpolated pixel by pixel and rounded. A number to be predicted is interpolated together with the
    features; an image to be reconstructed is the made-up image itself.
    """

    name = "smote"
    summary = "every group oversampled to the largest, between nearest neighbours, before training"

    def __init__(self, context: Context) -> None:
        super().__init__(replace(context, data=filled_up(context)))

    @classmethod
    def unsuitable(cls, task: Task) -> str | None:
        """Tokens are numbers in name only."""
        return "it interpolates, and between two token ids there is nothing" if task.inputs == "tokens" else None


def filled_up(context: Context) -> Data:
    """The data, the made-up samples added to the training part."""
    import torch

    from experiments.datasets.splits import Split

    train, kind = context.data.train, context.task.objective.kind
    if len(set(context.data.counts(train))) == 1:
        return context.data
    columns = [train.inputs.flatten(1).float()]
    if kind == "regression":
        columns.append(train.targets[:, None])
    table, labels = oversample(torch.cat(columns, dim=1).numpy(), train.groups.numpy(), context.run.seed)
    rows, groups = torch.from_numpy(table), torch.from_numpy(labels)
    inputs = _as_before(rows[:, : columns[0].shape[1]], train.inputs)
    targets = {"classification": groups, "regression": rows[:, -1], "reconstruction": inputs}[kind]
    return context.data.with_train(Split(inputs, targets, groups))


def oversample(samples: np.ndarray, groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill up every group to the size of the largest.

    Each new sample lies between one of its group and one of that one's 5 nearest neighbours in the group. A group of
    2 to 5 samples has fewer neighbours to offer, and a single sample none: it is copied.

    Args:
        samples: shape ``(num_samples, num_features)``, float32.
        groups: shape ``(num_samples,)``, int64.
        seed: of the random choices.

    Returns:
        Samples and groups, those given first and in their order.
    """
    import numpy as np
    from imblearn.over_sampling import SMOTE, RandomOverSampler

    sizes = np.bincount(groups)
    num_neighbours = np.minimum(sizes - 1, NEIGHBOURS)
    tables, labels = [samples], [groups]
    for number in np.unique(num_neighbours[sizes < sizes.max()]).tolist():
        targets = dict.fromkeys(np.flatnonzero((num_neighbours == number) & (sizes > 0)).tolist(), sizes.max())
        sampler = (
            SMOTE(sampling_strategy=targets, k_neighbors=number, random_state=seed)
            if number
            else RandomOverSampler(sampling_strategy=targets, random_state=seed)
        )
        table, label = sampler.fit_resample(samples, groups)
        tables.append(table[len(samples) :])
        labels.append(label[len(samples) :])
    return np.concatenate(tables), np.concatenate(labels)


def _as_before(rows: Tensor, like: Tensor) -> Tensor:
    """Rows of numbers in the form and type that they were flattened from."""
    rows = rows if like.is_floating_point() else rows.round()
    return rows.to(like.dtype).reshape(-1, *like.shape[1:])
