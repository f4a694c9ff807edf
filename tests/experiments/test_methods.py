"""What batches each method makes, and that a new method needs no more than the seams."""

import numpy as np
import pytest
import torch

from conftest import TOY
from experiments.datasets.splits import Data
from experiments.errors import UserError
from experiments.execution import load_data
from experiments.methods import METHODS, Batches, Method
from experiments.methods.classical import ShuffledBatches
from experiments.start import Start
from experiments.training import Training
from tiny import run_of

SUITABLE = [name for name, method in METHODS.items() if method.unsuitable(TOY) is None]
RECORD = {"history": [{"proportions": [0.5, 0.5]}, {"proportions": [0.25, 0.75]}]}
PRIOR = np.array([33 / 43, 10 / 43])


def make(name: str, seed: int = 0, **overrides: object) -> tuple[Data, Batches]:
    """The data that a method trains on, and its batches: 43 samples in batches of 10."""
    run = run_of(TOY, name, seed, batch_size=10, **overrides)
    start = Start(run, load_data(run, None), torch.device("cpu"), 4, RECORD)
    start = Start(run, run.method.before_training(start), start.device, 4, RECORD)
    return start.data, run.method.batches(start)


def feed(batches: Batches, data: Data, group_losses: list[float]) -> None:
    """Run an epoch in which every sample has its group's loss."""
    for index in batches:
        batches.observe(torch.tensor(group_losses)[data.train.groups[index]])


@pytest.mark.parametrize("name", SUITABLE)
def test_all_methods_have_the_same_budget(name):
    data, batches = make(name)
    for _ in range(3):
        sizes = []
        for index in batches:
            sizes.append(len(index))
            batches.observe(torch.ones(len(index)))
        assert sizes == [10] * 4
    assert len(batches) == 4
    assert batches.proportions.sum() == pytest.approx(1)
    assert len(batches.proportions) == len(data.group_names)


@pytest.mark.parametrize("name", SUITABLE)
def test_the_seed_decides_the_batches(name):
    first, again, other = (next(iter(make(name, seed)[1])) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def passes(batches: Batches, num_samples: int, num_epochs: int = 20) -> list[list[int]]:
    """What is drawn in some epochs, cut where every sample should have come once."""
    drawn = [place for _ in range(num_epochs) for index in batches for place in index]
    return [drawn[start : start + num_samples] for start in range(0, len(drawn) - num_samples, num_samples)]


def test_classical_passes_over_everything_before_anything_comes_twice():
    data, batches = make("classical")
    whole = passes(batches, len(data.train))
    assert len(whole) == 18
    assert all(sorted(one) == list(range(43)) for one in whole)
    assert whole[0] != whole[1]


def test_classical_keeps_the_datas_own_mix():
    data, batches = make("classical")
    feed(batches, data, [1.0, 9.0])
    assert batches.proportions == pytest.approx(PRIOR)


def test_balanced_gives_every_group_the_same_share():
    data, batches = make("balanced")
    for index in batches:
        assert torch.bincount(data.train.groups[index]).tolist() == [5, 5]


@pytest.mark.parametrize(("name", "num_updates"), [("learn2mix", 4), ("learn2mix-step", 4), ("learn2mix-epoch", 1)])
def test_learn2mix_follows_the_papers_rule(name, num_updates):
    data, batches = make(name, mixing_rate=0.5)
    expected = PRIOR
    assert batches.proportions == pytest.approx(expected)
    feed(batches, data, [1.0, 3.0])
    for _ in range(num_updates):
        expected = expected + 0.5 * (np.array([0.25, 0.75]) - expected)
    assert batches.proportions == pytest.approx(expected)


def test_every_sets_how_often_learn2mix_updates():
    data, batches = make("learn2mix", every=2, mixing_rate=1.0)
    steps = iter(batches)
    for moved in (False, True):
        index = next(steps)
        batches.observe(torch.tensor([1.0, 3.0])[data.train.groups[index]])
        assert (batches.proportions[1] == pytest.approx(0.75)) == moved


def test_static_holds_what_learn2mix_ended_with():
    data, batches = make("static")
    counts = np.zeros(2, dtype=int)
    for losses in ([1.0, 9.0], [9.0, 1.0]):
        for index in batches:
            counts += np.bincount(data.train.groups[index], minlength=2)
            batches.observe(torch.tensor(losses)[data.train.groups[index]])
    assert counts.tolist() == [20, 60]
    assert batches.proportions == pytest.approx([0.25, 0.75])


def test_static_asks_for_the_record_it_needs():
    run = run_of(TOY, "static")
    assert METHODS["static"].prerequisite == "learn2mix"
    with pytest.raises(UserError, match="toy static seed 0 needs the record of learn2mix"):
        Training(run, load_data(run, None))


def test_one_shot_is_set_once_by_the_losses_of_the_first_epoch():
    data, batches = make("one-shot")
    steps = iter(batches)
    for index in steps:
        assert batches.proportions == pytest.approx(PRIOR)
        batches.observe(torch.tensor([1.0, 4.0])[data.train.groups[index]])
    for _ in range(3):
        assert batches.proportions == pytest.approx([0.2, 0.8])
        feed(batches, data, [9.0, 1.0])


def test_one_shot_leaves_a_group_that_did_not_come_its_share():
    from experiments.methods.held import OneShotMix

    mixer = OneShotMix()
    mixer.attach([0.5, 0.3, 0.2], ["a", "b", "c"])
    mixer.update(np.array([1.0, 3.0, np.nan]))
    assert mixer.proportions == pytest.approx([0.8 * 0.25, 0.8 * 0.75, 0.2])


class FirstHalfAtNoLoss(Method):
    """Uses every seam: trains on the better half of every batch of half of the data, and makes nothing of it."""

    name = "first-half"
    summary = "for a test"

    def __init__(self) -> None:
        self.seen: list[tuple] = []

    def before_training(self, start):
        return Data(start.data.train.take(torch.arange(0, len(start.data.train), 2)), start.data.test, ("a", "b"))

    def batches(self, start):
        self.seen.append(("batches", len(start.data.train), start.num_batches))
        return ShuffledBatches(start)

    def select(self, batch, score, batches):
        scores = score(batch)
        self.seen.append(("select", len(batch), scores.requires_grad))
        return batch.take(scores.argsort()[:3])

    def loss(self, losses, outputs, batch, batches):
        assert len(losses) == len(outputs) == len(batch) == 3
        return 0 * losses.sum()

    def adjust_outputs(self, outputs, start):
        return outputs * 0 + 100


def test_a_method_is_no_more_than_its_seams():
    method = FirstHalfAtNoLoss()
    run = run_of(TOY, method, batch_size=10, epochs=2)
    rows = list(Training(run, load_data(run, None)).epochs())
    assert method.seen == [("batches", 22, 4), *[("select", 10, False)] * 8]
    assert len({row["test_loss"] for row in rows}) == 1
    assert rows[0]["test_error"] > 80**2
    assert 0 < rows[0]["train_loss"] < 80**2
