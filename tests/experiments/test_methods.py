"""What batches each method makes, and that a new method needs no more than the seams."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TOY
from experiments.errors import UserError
from experiments.methods import METHODS, Method
from experiments.plan import all_kinds, plan
from experiments.settings import AT_LEAST_0, OURS, Setting, parse_overrides
from experiments.training import Training
from tiny import run_of

SUITABLE = [name for name, method in METHODS.items() if method.unsuitable(TOY) is None]
PRIOR = np.array([33 / 43, 10 / 43])


def make(name: str, seed: int = 0, **overrides: object) -> Method:
    """A method on 43 samples in batches of 10."""
    run = run_of(TOY, name, seed, batch_size=10, **overrides)
    return METHODS[name](run.context(run.data(), 4))


def groups_of(method: Method, index: list[int]) -> torch.Tensor:
    return method.context.data.train.groups[index]


def feed(method: Method, group_losses: list[float]) -> None:
    """Run an epoch in which every sample has its group's loss."""
    for index in method.batches():
        method.observe(torch.tensor(group_losses)[groups_of(method, index)])


@pytest.mark.parametrize("name", SUITABLE)
def test_all_methods_have_the_same_budget(name):
    method = make(name)
    for _ in range(3):
        sizes = []
        for index in method.batches():
            sizes.append(len(index))
            method.observe(torch.ones(len(index)))
        assert sizes == [10] * 4
    assert method.proportions.sum() == pytest.approx(1)
    assert len(method.proportions) == len(method.context.data.group_names)


@pytest.mark.parametrize("name", SUITABLE)
def test_the_seed_decides_the_batches(name):
    first, again, other = (next(make(name, seed).batches()) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_classical_passes_over_everything_before_anything_comes_twice():
    method = make("classical")
    drawn = [place for _ in range(20) for index in method.batches() for place in index]
    whole = [drawn[start : start + 43] for start in range(0, len(drawn) - 43, 43)]
    assert len(whole) == 18
    assert all(sorted(one) == list(range(43)) for one in whole)
    assert whole[0] != whole[1]


def test_classical_keeps_the_datas_own_mix():
    method = make("classical")
    feed(method, [1.0, 9.0])
    assert method.proportions == pytest.approx(PRIOR)


def test_balanced_gives_every_group_the_same_share():
    method = make("balanced")
    for index in method.batches():
        assert torch.bincount(groups_of(method, index)).tolist() == [5, 5]


@pytest.mark.parametrize(("name", "num_updates"), [("learn2mix", 4), ("learn2mix-step", 4), ("learn2mix-epoch", 1)])
def test_learn2mix_follows_the_papers_rule(name, num_updates):
    method = make(name, mixing_rate=0.5)
    expected = PRIOR
    assert method.proportions == pytest.approx(expected)
    feed(method, [1.0, 3.0])
    for _ in range(num_updates):
        expected = expected + 0.5 * (np.array([0.25, 0.75]) - expected)
    assert method.proportions == pytest.approx(expected)


def test_every_sets_how_often_learn2mix_updates():
    method = make("learn2mix", every=2, mixing_rate=1.0)
    steps = method.batches()
    for moved in (False, True):
        index = next(steps)
        method.observe(torch.tensor([1.0, 3.0])[groups_of(method, index)])
        assert (method.proportions[1] == pytest.approx(0.75)) == moved


@pytest.mark.parametrize(("budget", "num_epochs"), [(1e9, 3), (1e-9, 1)])
def test_static_holds_what_learn2mix_ends_with_in_the_same_time(budget, num_epochs):
    settings = {"batch_size": 10, "epochs": 3, "mixing_rate": 0.5, "lr": 0.3, "time_budget": budget}
    learned, made = (run_of(TOY, name, 1, **settings) for name in ("learn2mix", "static"))
    *earlier, last = Training(*learned, learned.data()).epochs()
    method = Training(*made, made.data()).method
    assert len(earlier) == num_epochs - 1
    assert last["proportions"] != pytest.approx(PRIOR)
    counts = np.zeros(2, dtype=int)
    for losses in ([1.0, 9.0], [9.0, 1.0]):
        for index in method.batches():
            counts += np.bincount(groups_of(method, index), minlength=2)
            method.observe(torch.tensor(losses)[groups_of(method, index)])
    assert counts == pytest.approx(80 * np.array(last["proportions"]), abs=1)
    assert method.proportions.tolist() == last["proportions"]


def test_one_shot_is_set_once_by_the_losses_of_the_first_epoch():
    method = make("one-shot")
    for index in method.batches():
        assert method.proportions == pytest.approx(PRIOR)
        method.observe(torch.tensor([1.0, 4.0])[groups_of(method, index)])
    for _ in range(3):
        assert method.proportions == pytest.approx([0.2, 0.8])
        feed(method, [9.0, 1.0])


def test_one_shot_leaves_a_group_that_did_not_come_its_share():
    mixer = make("one-shot").mixer()
    mixer.attach([0.5, 0.3, 0.2], ["a", "b", "c"])
    mixer.update(np.array([1.0, 3.0, np.nan]))
    assert mixer.proportions == pytest.approx([0.8 * 0.25, 0.8 * 0.75, 0.2])


class FirstHalfAtNoLoss(Method):
    """Uses every seam: trains on the better half of every batch of half of the data, and makes nothing of it."""

    name = "first-half"
    summary = "for a test"

    def __init__(self, context):
        train = context.data.train.take(torch.arange(0, len(context.data.train), 2))
        super().__init__(replace(context, data=replace(context.data, train=train)))
        self.seen: list[tuple] = [("made", len(self.context.data.train), context.num_batches)]

    def select(self, batch, score):
        scores = score(batch)
        self.seen.append(("select", len(batch), scores.requires_grad))
        return batch.take(scores.argsort()[:3])

    def loss(self, losses, outputs, batch):
        assert len(losses) == len(outputs) == len(batch) == 3
        return 0 * losses.sum()

    def adjust_outputs(self, outputs):
        return outputs * 0 + 100


def test_a_method_is_no_more_than_its_seams():
    run = run_of(TOY, FirstHalfAtNoLoss, batch_size=10, epochs=2)
    training = Training(*run, run.data())
    rows = list(training.epochs())
    assert training.method.seen == [("made", 22, 4), *[("select", 10, False)] * 8]
    assert len({row["test_loss"] for row in rows}) == 1
    assert rows[0]["test_error"] > 80**2
    assert 0 < rows[0]["train_loss"] < 80**2


class Momentum(Method):
    """A method with a setting of its own and a state: weighs samples whose group had large losses before."""

    name = "momentum"
    summary = "weighs groups by what their losses were"
    settings = {"memory": Setting(0.5, OURS, AT_LEAST_0), "sharpness": Setting(2, OURS)}  # noqa: RUF012

    def __init__(self, context):
        super().__init__(context)
        self.remembered = torch.ones(len(context.data.group_names))

    def loss(self, losses, outputs, batch):
        memory, sharpness = (self.context.settings[name] for name in self.settings)
        for group in batch.groups.unique():
            mean = losses[batch.groups == group].mean().detach()
            self.remembered[group] = memory * self.remembered[group] + (1 - memory) * mean
        weights = self.remembered[batch.groups] ** sharpness
        return (losses * weights / weights.mean()).mean()


def test_a_method_has_settings_and_a_state_of_its_own(toy, monkeypatch):
    assert len(inspect.getsource(Momentum).splitlines()) <= 40
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    overrides = parse_overrides(["memory=0.25"], all_kinds())
    first, second = plan(["toy"], ["momentum"], 2, overrides)
    assert (first.settings["memory"], first.settings["sharpness"]) == (0.25, 2)
    made = run_of(toy, "momentum", batch_size=10, epochs=2, memory=0.25)
    trainings = [Training(run, toy, Momentum, made.data()) for run in (first, second, first)]
    rows = [next(training.epochs())["train_loss"] for training in trainings]
    assert trainings[0].method.remembered.tolist() != [1.0, 1.0]
    assert rows[0] == rows[2] != rows[1], "each run has a state of its own"


@pytest.mark.parametrize("pair", ["memory=-1", "memory=x", "sharpness=1.5", "sharpness=0"])
def test_settings_of_its_own_have_rules_of_their_own(monkeypatch, pair):
    monkeypatch.setitem(METHODS, "momentum", Momentum)
    with pytest.raises(UserError, match=pair.partition("=")[0]):
        parse_overrides([pair], all_kinds())
