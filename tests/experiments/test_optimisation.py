"""Optimiser and schedule, against updates and cosines worked out by hand."""

import math

import numpy as np
import pytest
import torch

from experiments.errors import UserError
from experiments.training import Training, make_optimizer, make_schedule
from tiny import run_of

SGD = {"optimizer": "SGD", "lr": 0.1}


def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Every gradient is 1."""
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_the_momentum_is_nesterovs():
    model = torch.nn.Linear(1, 1, bias=False)
    weight, velocity = model.weight.item(), 0.0
    optimizer = make_optimizer(model, {**SGD, "momentum": 0.9})
    for _ in range(4):
        step(model, optimizer)
        velocity = 0.9 * velocity + 1
        weight -= 0.1 * (1 + 0.9 * velocity)
        assert model.weight.item() == pytest.approx(weight, rel=1e-5)


def test_matrices_alone_decay():
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    step(model, make_optimizer(model, {**SGD, "weight_decay": 0.5}))
    for name, parameter in model.named_parameters():
        decay = 0.5 * before[name] if name == "0.weight" else 0
        assert torch.allclose(parameter, before[name] - 0.1 * (1 + decay))


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "RMSprop", "SGD"])
def test_without_settings_an_optimizer_has_torchs_own_values(optimizer):
    model = torch.nn.Linear(2, 1)
    ours = make_optimizer(model, {"optimizer": optimizer, "lr": 0.1}).state_dict()
    assert ours == getattr(torch.optim, optimizer)(model.parameters(), lr=0.1).state_dict()


def test_a_momentum_is_for_sgd():
    with pytest.raises(UserError, match=r"momentum=0.9 is for optimizer=SGD, got optimizer=Adam"):
        make_optimizer(torch.nn.Linear(1, 1), {"optimizer": "Adam", "lr": 0.1, "momentum": 0.9})


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"schedule": "cosine"}, [0.1, 0.05 * (1 + math.sqrt(0.5)), 0.05, 0.05 * (1 - math.sqrt(0.5)), 0.0]),
        ({"schedule": "constant"}, [0.1] * 5),
        ({}, [0.1] * 5),
    ],
)
def test_a_cosine_falls_to_0_over_all_steps(settings, expected):
    optimizer = make_optimizer(torch.nn.Linear(1, 1), SGD)
    schedule = make_schedule(optimizer, settings, num_steps=4)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected, abs=1e-12)


def test_a_run_steps_the_cosine_each_batch_and_ends_at_0(toy):
    run = run_of(toy, "classical", epochs=3, batch_size=10, schedule="cosine", lr=0.1)
    training = Training(*run, run.data())
    rates = []
    for row in training.epochs():
        rates.append(training._optimizer.param_groups[0]["lr"])
        assert np.isfinite(row["train_loss"])
    assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * done / 3)) for done in (1, 2, 3)], abs=1e-12)
