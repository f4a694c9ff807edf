"""What batches each method makes, and that a new method needs no more than the three seams."""

import numpy as np
import pytest
import torch

from experiments.datasets.splits import Data
from experiments.methods import METHODS, Batches, Method
from experiments.runs import Run, plan
from experiments.sweep import load_data
from experiments.training import Training


def make(name: str, seed: int = 0, **overrides: object) -> tuple[Data, Batches]:
    run = plan(["toy"], [name], seed + 1, overrides)[seed]
    data = load_data(run, None)
    return data, run.method.batches(data, run.settings, seed)


def feed(batches: Batches, data: Data, group_losses: list[float]) -> None:
    """Run an epoch in which every sample has its group's loss."""
    for index in batches:
        batches.observe(torch.tensor(group_losses)[data.train.groups[index]])


@pytest.mark.parametrize("name", METHODS)
def test_all_methods_have_the_same_budget(toy, name):
    data, batches = make(name)
    for _ in range(3):
        sizes = []
        for index in batches:
            sizes.append(len(index))
            batches.observe(torch.ones(len(index)))
        assert sizes == [10] * 5  # 43 samples: ceil(43 / 10) full batches
    assert len(batches) == 5
    assert batches.proportions.sum() == pytest.approx(1)
    assert len(batches.proportions) == len(data.group_names)


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_decides_the_batches(toy, name):
    first, again, other = (next(iter(make(name, seed)[1])) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_classical_passes_over_everything_before_anything_comes_twice(toy):
    data, batches = make("classical")
    drawn = [place for _ in range(20) for index in batches for place in index]
    num_samples = len(data.train)
    passes = [drawn[start : start + num_samples] for start in range(0, 1000 - num_samples, num_samples)]
    assert len(passes) == 23
    assert all(sorted(one) == list(range(num_samples)) for one in passes)
    assert passes[0] != passes[1]


def test_classical_keeps_the_datas_own_mix(toy):
    data, batches = make("classical")
    feed(batches, data, [1.0, 9.0])
    assert batches.proportions == pytest.approx([33 / 43, 10 / 43])


def test_balanced_gives_every_group_the_same_share(toy):
    data, batches = make("balanced")
    for index in batches:
        assert torch.bincount(data.train.groups[index]).tolist() == [5, 5]


@pytest.mark.parametrize(("name", "num_updates"), [("learn2mix", 5), ("learn2mix-step", 5), ("learn2mix-epoch", 1)])
def test_learn2mix_follows_the_papers_rule(toy, name, num_updates):
    data, batches = make(name, mixing_rate=0.5)
    expected = np.array([33 / 43, 10 / 43])
    assert batches.proportions == pytest.approx(expected)
    feed(batches, data, [1.0, 3.0])
    for _ in range(num_updates):
        expected = expected + 0.5 * (np.array([0.25, 0.75]) - expected)
    assert batches.proportions == pytest.approx(expected)


def test_every_sets_how_often_learn2mix_updates(toy):
    data, batches = make("learn2mix", every=2, mixing_rate=1.0)
    steps = iter(batches)
    for moved in (False, True):
        index = next(steps)
        batches.observe(torch.tensor([1.0, 3.0])[data.train.groups[index]])
        assert (batches.proportions[1] == pytest.approx(0.75)) == moved


class FirstHalfAtNoLoss(Method):
    """Uses every seam: trains on the first half of the data, and makes nothing of the losses."""

    name = "first-half"
    summary = "for a test"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def before_training(self, data, settings, seed):
        return Data(data.train.take(torch.arange(0, len(data.train), 2)), data.test, data.group_names)

    def batches(self, data, settings, seed):
        self.seen.append(len(data.train))
        return METHODS["classical"].batches(data, settings, seed)

    def loss(self, losses, outputs, batch, batches):
        assert outputs.shape == (len(batch), 1)
        return 0 * losses.sum()


def test_a_method_is_no_more_than_its_three_seams(toy):
    method = FirstHalfAtNoLoss()
    settings = {name: setting.value for name, setting in toy.settings.items()}
    run = Run(toy, method, 0, settings)
    rows = list(Training(run, load_data(run, None)).epochs())
    assert method.seen == [22]
    assert len({row["test_loss"] for row in rows}) == 1
    assert rows[0]["train_loss"] > 0
