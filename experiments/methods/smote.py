"""SMOTE (Chawla et al., arXiv 1106.1813): rare groups are filled up with samples between neighbours."""

from __future__ import annotations

from dataclasses import replace

from experiments.context import Context
from experiments.datasets.splits import Data, Split
from experiments.lazily import np, torch
from experiments.methods.method import Method
from experiments.tasks.task import Task


class Smote(Method):
    """An epoch stays as long as without. What is to be predicted is interpolated together with the inputs."""

    name = "smote"
    summary = "every group oversampled to the largest, between nearest neighbours, before training"

    def __init__(self, context: Context) -> None:
        super().__init__(replace(context, data=filled_up(context)))

    @classmethod
    def unsuitable(cls, task: Task) -> str | None:
        return "it interpolates, and between two token ids there is nothing" if task.inputs == "tokens" else None


def filled_up(context: Context) -> Data:
    """The data, the made-up samples added to the training part."""
    train, kind = context.data.train, context.task.objective.kind
    if len(set(context.data.counts(train))) == 1:
        return context.data
    columns = [train.inputs.flatten(1).float()]
    if kind == "regression":
        columns.append(train.targets[:, None])
    table, labels = oversample(torch.cat(columns, dim=1).numpy(), train.groups.numpy(), context.run.seed)
    rows, groups = torch.from_numpy(table), torch.from_numpy(labels)
    inputs = rows[:, : columns[0].shape[1]]
    if not train.inputs.is_floating_point():
        inputs = inputs.round()
    inputs = inputs.to(train.inputs.dtype).reshape(-1, *train.inputs.shape[1:])
    targets = {"classification": groups, "regression": rows[:, -1], "reconstruction": inputs}[kind]
    return replace(context.data, train=Split(inputs, targets, groups))


def oversample(samples: np.ndarray, groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Fill up every group of samples ``(N, d)`` to the size of the largest; the samples given come first.

    Each new sample lies between one of its group and one of that one's 5 nearest neighbours in the group. A group of
    2 to 5 samples has fewer neighbours to offer, and a single sample none: it is copied.
    """
    from imblearn.over_sampling import SMOTE, RandomOverSampler

    sizes = np.bincount(groups)
    num_neighbours = np.minimum(sizes - 1, 5)
    tables, labels = [samples], [groups]
    for number in np.unique(num_neighbours[sizes < sizes.max()]).tolist():
        targets = dict.fromkeys(np.flatnonzero((num_neighbours == number) & (sizes > 0)).tolist(), sizes.max())
        how = {"sampling_strategy": targets, "random_state": seed}
        sampler = SMOTE(k_neighbors=number, **how) if number else RandomOverSampler(**how)
        table, label = sampler.fit_resample(samples, groups)
        tables.append(table[len(samples) :])
        labels.append(label[len(samples) :])
    return np.concatenate(tables), np.concatenate(labels)
