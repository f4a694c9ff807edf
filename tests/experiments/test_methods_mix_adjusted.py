"""The loss that knows its mix: the formula in plain loops, and which losses each mixer sees."""

import math

import numpy as np
import pytest
import torch

from experiments.methods import METHODS, Method
from experiments.tasks import TASKS
from tiny import BATCH_SIZE, COUNTS, run_of, tiny_data

DIGITS = TASKS["mnist"]
PRIOR = np.array(COUNTS) / sum(COUNTS)
LOGITS = np.random.default_rng(0).normal(scale=2, size=(BATCH_SIZE, 4))
ADJUSTED = ["mix-adjusted", "fading", "learn2mix-passes"]
RATE = 0.1


def make(name: str, task=DIGITS, **overrides) -> Method:
    return METHODS[name](run_of(task, name, **overrides).context(tiny_data(task)))


def by_hand(mix: np.ndarray, labels: list[int]) -> list[float]:
    """Cross-entropies of the logits + log mix, a sample at a time; classes without share and samples are left out."""
    losses = []
    for scores, label in zip(LOGITS, labels, strict=True):
        terms = {c: mix[c] * math.exp(scores[c]) for c in range(4) if mix[c] > 0 or c in labels}
        losses.append(-math.log(terms[label] / sum(terms.values())))
    return losses


def train(name: str, num_epochs: int = 4, **overrides):
    """Yield, for each step, the mix before it, the batch's labels and the loss; the outputs are always the same."""
    method = make(name, **overrides)
    outputs = torch.from_numpy(LOGITS).float()
    for _ in range(num_epochs):
        for index in method.batches():
            mix = method.proportions.copy()
            batch = method.context.data.train.take(torch.tensor(index))
            plain = DIGITS.objective.losses(outputs, batch.targets)
            loss = method.loss(plain, outputs, batch).item()
            method.observe(plain)
            yield mix, batch.targets.tolist(), loss, method.proportions.copy()


@pytest.mark.parametrize("name", ADJUSTED)
def test_the_loss_is_that_of_the_mix_of_this_very_batch(name):
    for mix, labels, loss, _ in train(name):
        assert loss == pytest.approx(np.mean(by_hand(mix, labels)), rel=1e-4)


@pytest.mark.parametrize(
    ("mix", "expected"),
    [("prior", PRIOR), ("sqrt", np.sqrt(PRIOR) / np.sqrt(PRIOR).sum()), ("uniform", np.full(4, 0.25))],
)
def test_a_mix_can_be_chosen_and_stays(mix, expected):
    for before, _, _, after in train("mix-adjusted", mix=mix):
        assert before == pytest.approx(expected)
        assert after == pytest.approx(expected)


def shares_of(labels: list[int], losses: list[float]) -> dict[int, float]:
    return {c: np.mean([loss for label, loss in zip(labels, losses, strict=True) if label == c]) for c in set(labels)}


def test_learn2mix_can_be_the_mix_and_sees_the_adjusted_losses():
    for mix, labels, _, after in train("mix-adjusted", mix="learn2mix"):
        means = shares_of(labels, by_hand(mix, labels))
        # Groups that were not there keep their share; the others share the rest by their losses.
        rest = sum(mix[c] for c in means)
        expected = mix.copy()
        for c, mean in means.items():
            expected[c] += RATE * (rest * mean / sum(means.values()) - mix[c])
        assert after == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("passes", [0.5, 15.0])
def test_fading_follows_the_passes(passes):
    draws, expected = np.zeros(4), np.full(4, 0.25)
    for mix, labels, _, _ in train("fading", passes=passes):
        assert mix == pytest.approx(expected, rel=1e-6)
        draws += np.bincount(labels, minlength=4)
        repeats = draws / COUNTS
        left = np.exp(-(repeats - repeats.min()) / passes)
        expected = mix + RATE * (left / left.sum() - mix)


@pytest.mark.parametrize("observed", ["adjusted", "plain"])
def test_learn2mix_passes_remembers_losses_that_fade(observed):
    draws, remembered = np.zeros(4), np.full(4, np.nan)
    plain_mix = np.full(4, 1.0)
    for mix, labels, _, after in train("learn2mix-passes", observed=observed, passes=2.0):
        draws += np.bincount(labels, minlength=4)
        losses = by_hand(mix if observed == "adjusted" else plain_mix, labels)
        for c, mean in shares_of(labels, losses).items():
            remembered[c] = mean if np.isnan(remembered[c]) else 0.9 * remembered[c] + 0.1 * mean
        assert not np.isnan(remembered).any()
        repeats = draws / COUNTS
        weights = remembered * np.exp(-(repeats - repeats.min()) / 2.0)
        assert after == pytest.approx(mix + RATE * (weights / weights.sum() - mix), rel=1e-4)


@pytest.mark.parametrize("task", ["mean-estimation", "mnist-reconstruction"])
def test_without_classes_learn2mix_passes_is_the_rule_alone(task):
    method = make("learn2mix-passes", TASKS[task])
    assert method.unsuitable(TASKS[task]) is None
    index = next(method.batches())
    losses = torch.arange(1.0, BATCH_SIZE + 1)
    loss = method.loss(losses, torch.zeros(BATCH_SIZE, 1), method.context.data.train.take(torch.tensor(index)))
    assert loss.item() == pytest.approx(losses.mean().item())


@pytest.mark.parametrize("name", ["mix-adjusted", "fading"])
@pytest.mark.parametrize("task", ["mean-estimation", "mnist-reconstruction"])
def test_the_others_need_classes_and_say_so(name, task):
    assert "has no classes to predict" in METHODS[name].unsuitable(TASKS[task])
    assert METHODS[name].unsuitable(TASKS["imdb"]) is None
