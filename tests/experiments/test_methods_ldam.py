"""LDAM with deferred re-weighting, against the paper's formulas in plain loops."""

import math

import numpy as np
import pytest
import torch

from experiments.methods import METHODS
from experiments.models import CosineLayer
from experiments.tasks import TASKS
from experiments.training import Training
from tiny import COUNTS, run_of, tiny_data

LDAM = METHODS["ldam-drw"]
TASK = TASKS["mnist"]
LABELS = [0, 0, 1, 2, 3, 3]
COSINES = np.random.default_rng(0).uniform(-1, 1, size=(6, 4))


def by_hand(weights: list[float]) -> float:
    """Cao et al., equation 13, scaled by 30 as in their code; the mean is that of the weights."""
    largest = max(count**-0.25 for count in COUNTS)
    total = 0.0
    for cosines, label in zip(COSINES, LABELS, strict=True):
        margin = 0.5 * COUNTS[label] ** -0.25 / largest
        scores = [30 * (cosine - margin if place == label else cosine) for place, cosine in enumerate(cosines)]
        total += weights[label] * -math.log(math.exp(scores[label]) / sum(map(math.exp, scores)))
    return total / sum(weights[label] for label in LABELS)


def deferred() -> list[float]:
    weights = [(1 - 0.9999) / (1 - 0.9999**count) for count in COUNTS]
    return [weight * len(COUNTS) / sum(weights) for weight in weights]


@pytest.mark.parametrize(("epochs", "num_plain"), [(5, 4), (10, 8), (16, 13), (1, 1)])
def test_the_loss_is_the_papers_and_weighs_from_80_percent_of_the_epochs(epochs, num_plain):
    data = tiny_data(TASK)
    method = LDAM(run_of(TASK, "ldam-drw", epochs=epochs).context(data))
    batch = data.train.take(torch.zeros(6, dtype=torch.int64))
    batch = type(batch)(batch.inputs, torch.tensor(LABELS), torch.tensor(LABELS))
    for epoch in range(epochs):
        for _ in method.batches():
            loss = method.loss(None, 30 * torch.from_numpy(COSINES).float(), batch)
            expected = by_hand([1.0] * 4 if epoch < num_plain else deferred())
            assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_scores_are_scaled_cosines():
    linear = torch.nn.Linear(5, 3)
    rows = np.random.default_rng(0).normal(size=(4, 5))
    scores = CosineLayer(linear, scale=30)(torch.from_numpy(rows).float())
    for row, of_row in zip(rows, scores.tolist(), strict=True):
        for direction, score in zip(linear.weight.tolist(), of_row, strict=True):
            cosine = np.dot(row, direction) / math.sqrt(np.dot(row, row) * np.dot(direction, direction))
            assert score == pytest.approx(30 * cosine, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("task", ["cifar10", "cifar10-mobilenet", "cifar10-long-tail", "imdb", "imagenette"])
def test_the_last_layer_alone_is_changed(task):
    task = TASKS[task]
    plain, changed = (Training(*run_of(task, method), tiny_data(task)) for method in ("classical", "ldam-drw"))
    layers = [module for module in changed.model.modules() if isinstance(module, CosineLayer)]
    (linear,) = [module for module in plain.model.modules() if isinstance(module, torch.nn.Linear)][-1:]
    assert len(layers) == 1
    assert torch.allclose(layers[0].weight, linear.weight / linear.weight.norm(dim=1, keepdim=True))
    assert layers[0].weight.requires_grad
    count, of_changed = (sum(map(torch.numel, training.model.parameters())) for training in (plain, changed))
    assert of_changed == count - 4  # the bias
    outputs = changed.model(changed._test.inputs)
    assert outputs.shape == (8, 4)
    assert outputs.abs().max() <= 30 * (1 + 1e-5)
