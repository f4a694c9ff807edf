"""Methods that train on other data than the task's, prepared before the first step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from experiments.datasets import Data, Split
from experiments.errors import UserError
from experiments.lazily import lazily, np, torch
from experiments.methods.method import Classical, Context, Method
from experiments.settings import CODE, PAPER, WHOLE, Kind, Setting
from experiments.tasks.task import Task


class Curriculum(Method):
    """Self-taught (Hacohen and Weinshall, arXiv 1904.03626): trains on the easiest part, which grows to the whole.

    A classical run tells easy from hard: the paper scores a sample by 1 less the confidence in its label, which is
    ``1 - exp(-loss)``, so losses sort in the same way, and for regressions too. At epoch ``t``, counted from 0, the
    first ``min(start * growth ** floor(t / every), 1)`` of the samples take part.
    """

    name = "curriculum"
    summary = "the easiest samples first, by the scores of a warm-up run that is not in the time"
    settings = {
        "warm_up_epochs": Setting(50, f"{CODE}; at most the run's own epochs", WHOLE),
        "curriculum_start": Setting(0.5, PAPER, Kind("a number above 0, at most 1", float, lambda one: 0 < one <= 1)),
        "curriculum_growth": Setting(1.2, PAPER, Kind("a number of at least 1", float, lambda one: one >= 1)),
        "curriculum_every": Setting(10, PAPER, WHOLE),
    }

    def __init__(self, context: Context) -> None:
        easy_to_hard = warm_up(context).argsort(stable=True)
        train = context.data.train.take(easy_to_hard)
        super().__init__(replace(context, data=replace(context.data, train=train)))
        self._epoch = 0
        self._let_in()

    def batches(self) -> Iterator[list[int]]:
        yield from super().batches()
        self._epoch += 1
        self._let_in()

    def _let_in(self) -> None:
        """Let in what takes part in the epoch to come; with every growth passes begin anew, over more samples."""
        settings, num_samples = self.context.settings, len(self.context.data.train)
        growth = settings["curriculum_growth"] ** (self._epoch // settings["curriculum_every"])
        size = max(1, int(min(settings["curriculum_start"] * growth, 1) * num_samples))
        if size != self.num_shuffled:
            self.num_shuffled, self._shuffled = size, self._shuffled[:0]

    @property
    def proportions(self) -> np.ndarray:
        data, size = self.context.data, self.num_shuffled
        return np.bincount(data.train.groups[:size].numpy(), minlength=len(data.group_names)) / size


def warm_up(context: Context) -> torch.Tensor:
    """Losses of the training part under a classical run of its own, shape ``(num_samples,)``, on the CPU."""
    # A seed that no run of a sweep has, so that the warm-up shares neither weights nor batches with any of them.
    seed = int(np.random.SeedSequence([context.run.seed, 1]).generate_state(1)[0])
    run, make = replace(context.run, seed=seed), lazily("experiments.training:Training")
    training = make(run, context.task, Classical, context.data, context.device)
    try:
        for _ in range(min(context.settings["warm_up_epochs"], context.settings["epochs"])):
            training.train_epoch()
    except UserError as error:
        raise UserError(f"{context.run}: the warm-up broke off. {error}") from error
    parts = torch.arange(len(context.data.train)).split(context.settings["batch_size"])
    return torch.cat([training.score(context.data.train.take(part).to(context.device)) for part in parts]).cpu()


class Smote(Method):
    """Chawla et al. (arXiv 1106.1813): rare groups are filled up with samples between neighbours.

    An epoch stays as long as without. What is to be predicted is interpolated together with the inputs.
    """

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
