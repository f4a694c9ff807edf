"""One loop for all methods: the same start, honest numbers, training time alone."""

import copy
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from experiments.errors import UserError
from experiments.methods import METHODS
from experiments.methods.classical import Classical, ShuffledBatches
from experiments.models import lenet5
from experiments.objectives import CLASSIFICATION
from experiments.runs import Run, plan
from experiments.sweep import load_data
from experiments.tasks import Task
from experiments.training import Training


def run_of(task: Task, method: str = "classical", seed: int = 0, **overrides: object) -> Run:
    run = plan([task.name], [method], seed + 1, overrides)[seed]
    return replace(run, task=task)


def train(run: Run) -> list[dict]:
    return list(Training(run, load_data(run, None)).epochs())


def without_time(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "train_seconds"} for row in rows]


@pytest.fixture
def spied(toy: Task) -> tuple[Task, list[dict]]:
    """The toy task, and the weights that its models start with."""
    starts = []

    def model(data):
        network = toy.model(data)
        starts.append(copy.deepcopy(network.state_dict()))
        return network

    return replace(toy, model=model), starts


def test_every_method_starts_from_the_weights_of_the_seed(spied):
    task, starts = spied
    for method in METHODS:
        train(run_of(task, method, epochs=1))
    train(run_of(task, "classical", seed=1, epochs=1))
    *same, other = [torch.nn.utils.parameters_to_vector(start.values()) for start in starts]
    assert all(torch.equal(start, same[0]) for start in same)
    assert not torch.equal(other, same[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_the_same_when_it_is_done_again(toy, method):
    run = run_of(toy, method)
    assert without_time(train(run)) == without_time(train(run))


def test_a_row_holds_what_the_records_form_says(toy):
    (row,) = train(run_of(toy, "learn2mix", epochs=1))
    assert row.keys() == {
        "epoch", "train_seconds", "train_loss", "test_loss", "test_error", "group_losses", "test_by_group",
        "proportions",
    }  # fmt: skip
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_the_numbers_are_those_of_a_loop_written_by_hand(toy):
    run = run_of(toy, "classical", epochs=2)
    rows = train(run)

    data = load_data(run, None)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    batches = METHODS["classical"].batches(data, run.settings, 0)
    for row in rows:
        losses, groups = [], []
        for index in batches:
            optimizer.zero_grad()
            squares = (model(data.train.inputs[index])[:, 0] - data.train.targets[index]) ** 2
            squares.mean().backward()
            optimizer.step()
            losses += squares.tolist()
            groups += data.train.groups[index].tolist()
        with torch.no_grad():
            errors = ((model(data.test.inputs)[:, 0] - data.test.targets) ** 2).numpy()
        losses, groups = np.array(losses), np.array(groups)
        assert row["train_loss"] == pytest.approx(losses.mean(), rel=1e-5)
        assert row["group_losses"] == pytest.approx([losses[groups == group].mean() for group in (0, 1)], rel=1e-5)
        assert row["test_error"] == pytest.approx(errors.mean(), rel=1e-5)
        assert row["test_by_group"] == pytest.approx([errors[:20].mean(), errors[20:].mean()], rel=1e-5)


class OnlyCommon(Classical):
    """Never draws the rare group."""

    def batches(self, data, settings, seed):
        class Batches(ShuffledBatches):
            def __iter__(self):
                yield list(range(10))

        return Batches(data, settings["batch_size"], seed)


def test_a_group_that_was_not_drawn_has_no_loss(toy):
    (row,) = train(replace(run_of(toy, epochs=1), method=OnlyCommon()))
    assert row["group_losses"][1] is None
    assert row["group_losses"][0] == pytest.approx(row["train_loss"])


def test_the_method_sees_the_losses_of_each_batch(toy):
    (row,) = train(run_of(toy, "learn2mix", every="epoch", mixing_rate=1.0, epochs=1))
    losses = np.array(row["group_losses"])
    assert row["proportions"] == pytest.approx(losses / losses.sum(), rel=1e-5)


def test_the_model_trains_in_training_mode_and_is_tested_in_the_other(toy):
    class TellsItsMode(torch.nn.Linear):
        def forward(self, inputs):
            return 0 * super().forward(inputs) + (100.0 if self.training else 0.0)

    run = run_of(replace(toy, model=lambda data: TellsItsMode(3, 1)), epochs=2)
    for row in train(run):
        assert row["train_loss"] > 90**2
        assert row["test_error"] < 10**2


def test_time_is_that_of_training_alone(toy):
    class SlowToTest(torch.nn.Linear):
        def forward(self, inputs):
            if not self.training:
                time.sleep(0.5)
            return super().forward(inputs)

    task = replace(toy, model=lambda data: SlowToTest(3, 1))
    (row,) = train(run_of(task, epochs=1))
    assert 0 < row["train_seconds"] < 0.4


def test_a_loss_that_is_not_finite_names_the_run(toy):
    with pytest.raises(UserError, match=r"toy learn2mix seed 0: the training loss became .*lr"):
        train(run_of(toy, "learn2mix", optimizer="SGD", lr=1e9, epochs=20))


@pytest.mark.parametrize("optimizer", ["Adam", "AdamW", "RMSprop", "SGD"])
def test_each_optimizer_can_be_chosen(toy, optimizer):
    assert train(run_of(toy, optimizer=optimizer, epochs=1))


def test_classification_judges_by_the_share_of_wrong_answers():
    outputs = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]])
    targets = torch.tensor([0, 1, 1, 1])
    assert CLASSIFICATION.errors(outputs, targets).tolist() == [0, 0, 1, 0]
    by_hand = [
        -np.log(np.exp(row[target]) / np.exp(row).sum()) for row, target in zip(outputs.numpy(), targets, strict=True)
    ]
    assert CLASSIFICATION.losses(outputs, targets).tolist() == pytest.approx(by_hand, rel=1e-5)


def test_lenet5_is_the_authors():
    data = load_data(plan(["mnist-5k"], ["classical"], 1, {})[0], None)
    model = lenet5(data)
    layers = [6 * 25 + 6, 16 * 6 * 25 + 16, 256 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(layers)
    assert model(data.test.inputs[:7]).shape == (7, 10)


def test_images_are_scaled_as_the_authors_do():
    data = load_data(plan(["mnist-5k"], ["classical"], 1, {})[0], None)
    normalise = lenet5(data)[0][0]
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert normalise(pixels).tolist() == pytest.approx([-1, -0.6, 1])
