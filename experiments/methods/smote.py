"""SMOTE (Chawla et al., arXiv 1106.1813): rare groups are filled up with samples between neighbours."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from imblearn.over_sampling import SMOTE, RandomOverSampler
from torch import Tensor

from experiments.datasets.splits import Data, Split
from experiments.methods.classical import Classical
from experiments.start import Start

if TYPE_CHECKING:
    from experiments.tasks.task import Task

NEIGHBOURS = 5  # imbalanced-learn's own


class Smote(Classical):
    """Before training, every group is oversampled to the size of the largest; an epoch stays as long as without.

    Images are interpolated pixel by pixel and rounded. A number to be predicted is interpolated together with the
    features; an image to be reconstructed is the made-up image itself.
    """

    name = "smote"
    summary = "every group oversampled to the largest, between nearest neighbours, before training"

    def unsuitable(self, task: Task) -> str | None:
        """Tokens are numbers in name only."""
        return "it interpolates, and between two token ids there is nothing" if task.inputs == "tokens" else None

    def before_training(self, start: Start) -> Data:
        """Add the made-up samples to the training part."""
        train, kind = start.data.train, start.run.task.objective.kind
        if len(set(start.data.counts(train))) == 1:
            return start.data
        columns = [train.inputs.flatten(1).float()]
        if kind == "regression":
            columns.append(train.targets[:, None])
        table, groups = oversample(torch.cat(columns, dim=1).numpy(), train.groups.numpy(), start.run.seed)
        rows, groups = torch.from_numpy(table), torch.from_numpy(groups)
        inputs = _as_before(rows[:, : columns[0].shape[1]], train.inputs)
        targets = {"classification": groups, "regression": rows[:, -1], "reconstruction": inputs}[kind]
        return replace(start.data, train=Split(inputs, targets, groups))


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
    sizes = np.bincount(groups)
    num_neighbours = np.minimum(sizes - 1, NEIGHBOURS)
    tables, labels = [samples], [groups]
    for number in np.unique(num_neighbours[sizes < sizes.max()]).tolist():
        filled_up = dict.fromkeys(np.flatnonzero((num_neighbours == number) & (sizes > 0)).tolist(), sizes.max())
        sampler = (
            SMOTE(sampling_strategy=filled_up, k_neighbors=number, random_state=seed)
            if number
            else RandomOverSampler(sampling_strategy=filled_up, random_state=seed)
        )
        table, label = sampler.fit_resample(samples, groups)
        tables.append(table[len(samples) :])
        labels.append(label[len(samples) :])
    return np.concatenate(tables), np.concatenate(labels)


def _as_before(rows: Tensor, like: Tensor) -> Tensor:
    """Rows of numbers in the form and type that they were flattened from."""
    rows = rows if like.is_floating_point() else rows.round()
    return rows.to(like.dtype).reshape(-1, *like.shape[1:])
