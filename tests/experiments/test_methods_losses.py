"""What each method minimises and how it judges, against the papers' formulas in NumPy."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp

from experiments.methods import METHODS, Method
from experiments.tasks import TASKS
from learn2mix.functional import update_proportions
from tiny import COUNTS, run_of, tiny_data

DIGITS = TASKS["mnist"]
PRIOR = np.array(COUNTS) / sum(COUNTS)
LOGITS = np.random.default_rng(0).normal(scale=2, size=(8, 4))
LABELS = np.array([0, 0, 0, 1, 1, 2, 3, 3])
CROSS_ENTROPIES = -log_softmax(LOGITS, axis=1)[np.arange(8), LABELS]


def make(name: str, task=DIGITS, **overrides) -> Method:
    return METHODS[name](run_of(task, name, **overrides).context(tiny_data(task)))


def loss_of(name: str, **overrides) -> float:
    """The method's loss of a batch with these logits and labels."""
    method = make(name, **overrides)
    outputs = torch.from_numpy(LOGITS).float()
    batch = method.context.data.train.take(torch.zeros(8, dtype=torch.int64))
    batch = type(batch)(batch.inputs, torch.from_numpy(LABELS), torch.from_numpy(LABELS))
    losses = torch.from_numpy(CROSS_ENTROPIES).float()
    return method.loss(losses, outputs, batch).item()


@pytest.mark.parametrize("name", ["classical", "learn2mix", "balanced", "importance", "curriculum", "logit-adjusted"])
def test_most_methods_minimise_the_mean(name):
    assert loss_of(name) == pytest.approx(CROSS_ENTROPIES.mean(), rel=1e-5)


@pytest.mark.parametrize("focusing", [0.0, 0.5, 2.0])
def test_focal_takes_the_probability_from_the_unweighted_loss(focusing):
    right = np.exp(LOGITS)[np.arange(8), LABELS] / np.exp(LOGITS).sum(axis=1)
    weights = (1 / PRIOR) / np.sum(PRIOR * (1 / PRIOR))  # in proportion to 1 / prior, 1 for the mean sample
    by_hand = [weights[label] * (1 - p) ** focusing * -np.log(p) for label, p in zip(LABELS, right, strict=True)]
    assert loss_of("focal", focusing=focusing) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_focal_weights_are_1_for_the_mean_training_sample():
    method = make("focal")
    weights = method.weights.numpy()
    assert weights[method.context.data.train.targets].mean() == pytest.approx(1)
    assert weights * PRIOR == pytest.approx(np.full(4, 0.25))


@pytest.mark.parametrize("focusing", [0.0, 0.5, 1.0, 2.0])
def test_focal_has_a_gradient_where_the_network_is_sure(focusing):
    method = make("focal", focusing=focusing)
    outputs = torch.tensor([[200.0, 0.0, 0.0, 0.0]], requires_grad=True)
    batch = method.context.data.train.take(torch.tensor([0]))
    batch = type(batch)(batch.inputs, torch.tensor([0]), torch.tensor([0]))
    losses = DIGITS.objective.losses(outputs, batch.targets)
    method.loss(losses, outputs, batch).backward()
    assert outputs.grad.tolist() == [[0.0] * 4]


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_the_logit_adjusted_loss_is_menons(tau):
    # Menon et al., equation 10: log(1 + sum over other labels of (pi' / pi)^tau exp(f' - f)).
    by_hand = []
    for scores, label in zip(LOGITS, LABELS, strict=True):
        others = [other for other in range(4) if other != label]
        margins = sum((PRIOR[o] / PRIOR[label]) ** tau * np.exp(scores[o] - scores[label]) for o in others)
        by_hand.append(np.log(1 + margins))
    assert loss_of("logit-adjusted-loss", tau=tau) == pytest.approx(np.mean(by_hand), rel=1e-5)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_logit_adjusted_corrects_the_outputs_when_tested(tau):
    adjusted = make("logit-adjusted", tau=tau).adjust_outputs(torch.from_numpy(LOGITS)).numpy()
    expected = LOGITS - tau * np.log(PRIOR)
    probabilities = np.exp(expected - logsumexp(expected, axis=1, keepdims=True))
    assert torch.softmax(torch.from_numpy(adjusted), dim=1).numpy() == pytest.approx(probabilities)
    assert not tau or (adjusted.argmax(axis=1) != LOGITS.argmax(axis=1)).any()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("logit-adjusted", "static")])
def test_no_other_method_corrects_the_outputs(name):
    outputs = torch.from_numpy(LOGITS)
    assert make(name).adjust_outputs(outputs) is outputs


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_reweighted_moves_as_learn2mix_and_weighs_the_losses(every):
    method = make("reweighted", task=TASKS["mean-estimation"], every=every, mixing_rate=0.5)
    groups = method.context.data.train.groups.numpy()
    mix, seen = PRIOR, []
    rng = np.random.default_rng(0)
    for _ in range(2):
        for index in method.batches():
            assert method.proportions == pytest.approx(mix)
            losses = rng.uniform(0.5, 1.5, size=8)
            weights = mix / PRIOR
            by_hand = np.mean([weights[groups[place]] * loss for place, loss in zip(index, losses, strict=True)])
            batch = method.context.data.train.take(torch.tensor(index))
            loss = method.loss(torch.from_numpy(losses), None, batch)
            method.observe(torch.from_numpy(losses))
            assert loss.item() == pytest.approx(by_hand)
            seen += zip(groups[index], losses, strict=True)
            if every == "step" or len(seen) == 2 * 8:
                means = [np.mean([loss for group, loss in seen if group == one] or [np.nan]) for one in range(4)]
                mix, seen = update_proportions(mix, means, 0.5), []


@pytest.mark.parametrize("name", ["focal", "logit-adjusted", "logit-adjusted-loss"])
@pytest.mark.parametrize("task", ["mean-estimation", "mnist-reconstruction"])
def test_methods_for_classes_say_so(name, task):
    reason = METHODS[name].unsuitable(TASKS[task])
    assert f"a {TASKS[task].objective.kind} has no classes to predict" in reason
    assert METHODS[name].unsuitable(DIGITS) is None
