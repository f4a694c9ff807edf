"""Self-taught curriculum: first what a warm-up run found easy (Hacohen and Weinshall, arXiv 1904.03626)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from experiments.context import Context
from experiments.errors import UserError
from experiments.lazily import np, torch
from experiments.methods.method import Classical, Method
from experiments.settings import CODE, PAPER, WHOLE, Setting, number


class Curriculum(Method):
    """Trains on the easiest part of the training set, which grows until it is all of it.

    A classical run of its own tells easy from hard. The paper scores a sample by 1 less the confidence in its label;
    that is ``1 - exp(-loss)``, so the losses sort in the same way, and for regressions too. At epoch ``t``, counted
    from 0, the first ``min(start * growth ** floor(t / every), 1)`` of the samples take part.
    """

    name = "curriculum"
    summary = "the easiest samples first, by the scores of a warm-up run that is not in the time"
    settings = {
        "warm_up_epochs": Setting(50, f"{CODE}; at most the run's own epochs", WHOLE),
        "curriculum_start": Setting(0.5, PAPER, number(" above 0, at most 1", float, lambda share: 0 < share <= 1)),
        "curriculum_growth": Setting(1.2, PAPER, number(" of at least 1", float, lambda growth: growth >= 1)),
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
        num_growths = self._epoch // settings["curriculum_every"]
        share = min(settings["curriculum_start"] * settings["curriculum_growth"] ** num_growths, 1)
        size = max(1, int(share * num_samples))
        if size != self.num_shuffled:
            self.num_shuffled, self._shuffled = size, self._shuffled[:0]

    @property
    def proportions(self) -> np.ndarray:
        data, size = self.context.data, self.num_shuffled
        return np.bincount(data.train.groups[:size].numpy(), minlength=len(data.group_names)) / size


def warm_up(context: Context) -> torch.Tensor:
    """Losses of the training part under a classical run of its own, shape ``(num_samples,)``, on the CPU."""
    from experiments.training import Training

    # A seed that no run of a sweep has, so that the warm-up shares neither weights nor batches with any of them.
    seed = int(np.random.SeedSequence([context.run.seed, 1]).generate_state(1)[0])
    run = replace(context.run, method=Classical.name, seed=seed)
    training = Training(run, context.task, Classical, context.data, context.device)
    try:
        for _ in range(min(context.settings["warm_up_epochs"], context.settings["epochs"])):
            training.train_epoch()
    except UserError as error:
        raise UserError(f"{context.run}: the warm-up broke off. {error}") from error
    parts = torch.arange(len(context.data.train)).split(context.settings["batch_size"])
    return torch.cat([training.score(context.data.train.take(part).to(context.device)) for part in parts]).cpu()
