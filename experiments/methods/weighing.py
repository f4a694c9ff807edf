"""Plain shuffled batches whose samples weigh more or less, or whose classes' scores are moved by their frequency."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from experiments.datasets import Split
from experiments.lazily import F, lazily, learn2mix, np, torch
from experiments.methods.method import Context, Method
from experiments.methods.mixing import Learn2MixMethod
from experiments.settings import AT_LEAST_0, PAPER, Setting

# Menon et al.: cross-entropy of outputs + log of the classes' frequencies has its optimum at a balanced classifier.
TAU = Setting(1.0, "Menon et al., arXiv 2007.07314", AT_LEAST_0)


class Focal(Method):
    r"""Lin et al. (arXiv 1708.02002), with ``k`` classes weighted by their proportions (Cui et al., arXiv 1901.05555).

    .. math:: \omega_y (1 - p)^\beta \, CE, \qquad p = e^{-CE}, \quad \omega_i = \frac{1}{k \, \tilde a_i}
    """

    name = "focal"
    summary = "class-balanced focal loss on plain shuffled batches"
    settings = {"focusing": Setting(2.0, PAPER, AT_LEAST_0)}
    for_classes = "weighs a sample by the probability of its class"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        proportions = context.data.proportions
        # So that a sample of the training set weighs 1 on average: sum_i a_i omega_i = 1.
        self.weights = torch.from_numpy(1 / (len(proportions) * proportions)).float().to(context.device)

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        # 1 - p, exact for p near 1, and never quite 0, where a power below 1 has no finite gradient.
        doubt = (-(-losses).expm1()).clamp(min=torch.finfo(torch.float32).tiny)
        focusing: float = self.context.settings["focusing"]
        return (self.weights[batch.targets] * doubt**focusing * losses).mean()


class LogitAdjusted(Method):
    r"""Classical training; what the network says of the test part is corrected: :math:`f_i(x) - \tau \log \tilde a_i`.

    With ``tau = 1`` that is Bayes' rule from the training set's mix to a balanced one, as the tasks' test parts have.
    """

    name = "logit-adjusted"
    summary = "classical, with outputs - tau log(class frequencies) when tested: for balanced test parts"
    settings = {"tau": TAU}
    for_classes = "moves the scores of classes by their frequency"

    def adjust_outputs(self, outputs: torch.Tensor) -> torch.Tensor:
        from learn2mix.calibration import adjust_logits

        tempered = self.context.data.proportions ** self.context.settings["tau"]
        uniform = np.full(len(tempered), 1 / len(tempered))
        return adjust_logits(outputs, prior=uniform, trained_on=tempered / tempered.sum())


class LogitAdjustedLoss(Method):
    name = "logit-adjusted-loss"
    summary = "cross-entropy of outputs + tau log(class frequencies) on plain shuffled batches"
    settings = {"tau": TAU}
    for_classes = LogitAdjusted.for_classes

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        shift = context.settings["tau"] * np.log(context.data.proportions)
        self._shift = torch.from_numpy(shift).float().to(context.device)

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        return F.cross_entropy(outputs + self._shift, batch.targets)


class LdamDrw(Method):
    r"""LDAM with deferred re-weighting (Cao et al., arXiv 1906.07413), by effective numbers (Cui et al.).

    The cross-entropy of :math:`s (\cos \theta - \Delta)`, with the margin :math:`\Delta` off the right class alone.
    """

    name = "ldam-drw"
    summary = "margins that grow as classes get rarer, shuffled batches; weighs by class from 80 % of the epochs"
    for_classes = "keeps a margin around each class"
    scale = 30.0  # of the cosines

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        counts = np.array(context.data.counts(context.data.train))
        # The paper's: the rarest class has the margin 0.5; weights are 1 on average.
        margins, weights = 0.5 * (counts / counts.min()) ** -0.25, 1 / (1 - 0.9999**counts)
        weights = weights * len(counts) / weights.sum()
        self._margins, self._late = (torch.from_numpy(one).float().to(context.device) for one in (margins, weights))
        self._epoch, self._weights = 0, torch.ones_like(self._margins)

    def model(self, model: torch.nn.Module) -> torch.nn.Module:
        last, linear = [found for found in model.named_modules() if isinstance(found[1], torch.nn.Linear)][-1]
        parent, _, name = last.rpartition(".")
        setattr(model.get_submodule(parent), name, lazily("experiments.models:CosineLayer")(linear, self.scale))
        return model

    def batches(self) -> Iterator[list[int]]:
        if self._epoch >= 0.8 * self.context.settings["epochs"]:
            self._weights = self._late
        yield from super().batches()
        self._epoch += 1

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        off = self.scale * F.one_hot(batch.targets, outputs.shape[1]) * self._margins
        return F.cross_entropy(outputs - off, batch.targets, weight=self._weights)


class Importance(Method):
    """Draws as many samples as any method, scores them in the training time, and steps on half of them.

    What a run records of training is of the samples stepped on, but for the proportions: those are of all drawn.
    """

    name = "importance"
    summary = "of each shuffled batch, half is kept, drawn by the losses"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._generator = torch.Generator(context.device).manual_seed(context.run.seed)

    def select(self, batch: Split, score: Callable[[Split], torch.Tensor]) -> Split:
        return batch.take(draw_by_loss(score(batch), max(1, len(batch) // 2), self._generator))


def draw_by_loss(losses: torch.Tensor, num_kept: int, generator: torch.Generator) -> torch.Tensor:
    """Draw places in a batch, each next one with a probability in proportion to its loss; shape ``(num_kept,)``."""
    # NaN is the training loop's to report. A sample without loss is drawn only when those with one do not suffice.
    return losses.nan_to_num().clamp(min=1e-12).multinomial(num_kept, replacement=False, generator=generator)


class Reweighted(Method):
    r"""Ablation of the sampling: learn2mix's objective, :math:`\sum_i a_i L_i`, by weights :math:`a_i / \tilde a_i`."""

    name = "reweighted"
    summary = "learn2mix's update, but as weights of the losses on plain shuffled batches"
    settings = Learn2MixMethod.settings

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        mixer = learn2mix.Learn2Mix(context.settings["mixing_rate"], every=context.settings["every"])
        groups = context.data.train.groups
        self._criterion = learn2mix.ReweightedLoss(lambda one: one, mixer, groups, num_batches=context.num_batches)
        self._groups = groups[:0]  # of the batch last drawn, on the CPU, so that no step waits for the device

    def batches(self) -> Iterator[list[int]]:
        for index in super().batches():
            self._groups = self.context.data.train.groups[index]
            yield index

    @property
    def proportions(self) -> np.ndarray:
        """What the next batch's losses are weighted to stand for."""
        return self._criterion.mixer.proportions

    def loss(self, losses: torch.Tensor, outputs: torch.Tensor, batch: Split) -> torch.Tensor:
        loss: torch.Tensor = self._criterion(losses, groups=self._groups)
        return loss
