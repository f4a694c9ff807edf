"""Self-taught curriculum: first what a warm-up run found easy (Hacohen and Weinshall, arXiv 1904.03626)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from experiments.datasets.splits import Data
from experiments.errors import UserError
from experiments.methods.classical import Classical, ShuffledBatches
from experiments.methods.method import Batches, Method
from experiments.settings import CODE, PAPER, Setting
from experiments.start import Start
from experiments.training import Training


class Curriculum(Method):
    """Trains on the easiest part of the training set, which grows until it is all of it.

    A classical run with weights and batches of its own, which is thrown away, tells easy from hard. The paper scores a
    sample by 1 less the confidence in its label; that is ``1 - exp(-loss)``, so the losses sort in the same way, and
    for regressions too. At epoch ``t``, counted from 0, the first ``min(start * growth ** floor(t / every), 1)`` of
    the samples take part. The warm-up is not in the time.
    """

    name = "curriculum"
    summary = "the easiest samples first, by the scores of a warm-up run that is not in the time"
    settings = {  # noqa: RUF012
        "warm_up_epochs": Setting(50, f"{CODE}; at most the run's own epochs"),
        "curriculum_start": Setting(0.5, PAPER),
        "curriculum_growth": Setting(1.2, PAPER),
        "curriculum_every": Setting(10, PAPER),
    }

    def before_training(self, start: Start) -> Data:
        """Sort the training part from easy to hard."""
        easy_to_hard = warm_up(start).argsort(stable=True)
        return replace(start.data, train=start.data.train.take(easy_to_hard))

    def batches(self, start: Start) -> Batches:
        """Shuffle what takes part."""
        return CurriculumBatches(start)


def warm_up(start: Start) -> Tensor:
    """Losses of the training part under a classical run of its own, shape ``(num_samples,)``, on the CPU."""
    # A seed that no run of a sweep has, so that the warm-up shares neither weights nor batches with any of them.
    seed = int(np.random.SeedSequence([start.run.seed, 1]).generate_state(1)[0])
    training = Training(replace(start.run, method=Classical(), seed=seed), start.data, start.device)
    try:
        for _ in range(min(start.settings["warm_up_epochs"], start.settings["epochs"])):
            training.train_epoch()
    except UserError as error:
        raise UserError(f"{start.run}: the warm-up broke off. {error}") from error
    train = start.data.train
    parts = torch.arange(len(train)).split(start.settings["batch_size"])
    return torch.cat([training.score(train.take(part).to(start.device)) for part in parts]).cpu()


class CurriculumBatches(ShuffledBatches):
    """Reshuffled passes over the easiest samples: with every growth they begin anew, over more of them."""

    def __init__(self, start: Start) -> None:
        super().__init__(start)
        self._groups, self._num_groups = start.data.train.groups.numpy(), len(start.data.group_names)
        self._settings, self._epoch = start.settings, 0
        self._open()

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch of an epoch."""
        yield from super().__iter__()
        self._epoch += 1
        self._open()

    def _open(self) -> None:
        """Let in what takes part in the epoch to come."""
        num_growths = self._epoch // self._settings["curriculum_every"]
        share = min(self._settings["curriculum_start"] * self._settings["curriculum_growth"] ** num_growths, 1)
        size = max(1, int(share * len(self._groups)))
        if size != self._num_samples:
            self._num_samples, self._ahead = size, self._ahead[:0]
            self._proportions = np.bincount(self._groups[:size], minlength=self._num_groups) / size
