"""One loop for all methods: the same start, honest numbers, training time alone."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from conftest import TOY
from experiments.errors import UserError
from experiments.methods import METHODS, Method
from experiments.methods.method import Classical
from experiments.models import lenet5
from experiments.tasks import TASKS, Task
from experiments.tasks.task import CLASSIFICATION, Objective
from experiments.training import Training
from tiny import Made, tiny_data
from tiny import run_of as any_run

SUITABLE = [name for name, method in METHODS.items() if method.unsuitable(TOY) is None]


def run_of(task: Task, method: str | type[Method] = "classical", seed: int = 0, **overrides: object) -> Made:
    return any_run(task, method, seed, **{"batch_size": 10, "epochs": 3, **overrides})


def train(run: Made) -> list[dict]:
    return list(Training(*run, run.data()).epochs())


def without_time(rows: list[dict]) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "train_seconds"} for row in rows]


def test_the_seed_decides_the_weights(toy):
    first, again, other = (
        torch.nn.utils.parameters_to_vector(Training(*run, run.data()).model.parameters())
        for run in (run_of(toy, seed=0), run_of(toy, seed=0), run_of(toy, seed=1))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("method", SUITABLE)
def test_a_run_is_the_same_when_it_is_done_again(toy, method):
    run = run_of(toy, method)
    assert without_time(train(run)) == without_time(train(run))


def test_a_row_holds_what_the_records_form_says(toy):
    (row,) = train(run_of(toy, "learn2mix", epochs=1))
    assert row.keys() == {
        "epoch", "train_seconds", "train_loss", "train_error", "train_by_group", "test_loss", "test_error",
        "test_by_group", "group_losses", "proportions",
    }  # fmt: skip
    assert json.loads(json.dumps(row, allow_nan=False)) == row


def test_the_numbers_are_those_of_a_loop_written_by_hand(toy):
    run = run_of(toy, "classical", epochs=2)
    rows = train(run)

    data = run.data()
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    method = METHODS["classical"](run.context(data, 4))
    for row in rows:
        losses, groups = [], []
        for index in method.batches():
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


@pytest.mark.parametrize(("batch_size", "num_batches"), [(1, 43), (10, 4), (43, 1), (44, 1), (1000, 1)])
def test_an_epoch_has_as_many_batches_as_the_data_fill(toy, batch_size, num_batches):
    run = run_of(toy, batch_size=batch_size)
    assert len(list(Training(*run, run.data()).method.batches())) == num_batches


def test_training_errors_are_those_of_the_samples_as_drawn(toy):
    """Losses and errors apart: an objective that judges by the distance, and minimises its square."""
    distances = Objective("regression", toy.objective.losses, lambda o, t: (o[:, 0] - t).abs(), "MAE", 1.0)
    (row,) = train(run_of(replace(toy, objective=distances), epochs=1, batch_size=43))
    data = run_of(toy).data()
    torch.manual_seed(0)
    model = toy.model(data, {})
    with torch.no_grad():  # one batch of all samples, judged before its step
        errors = (model(data.train.inputs)[:, 0] - data.train.targets).abs()
    assert row["train_error"] == pytest.approx(errors.mean().item(), rel=1e-5)
    expected = [errors[:33].mean().item(), errors[33:].mean().item()]
    assert row["train_by_group"] == pytest.approx(expected, rel=1e-5)
    assert row["train_loss"] == pytest.approx((errors**2).mean().item(), rel=1e-5)


class OnlyCommon(Classical):
    """Never draws the rare group."""

    def batches(self):
        yield list(range(10))


def test_a_group_that_was_not_drawn_has_no_loss(toy):
    (row,) = train(run_of(toy, OnlyCommon, epochs=1))
    assert row["group_losses"][1] is None
    assert row["train_by_group"][1] is None
    assert row["group_losses"][0] == pytest.approx(row["train_loss"])


def test_the_method_sees_the_losses_of_each_batch(toy):
    (row,) = train(run_of(toy, "learn2mix", every="epoch", mixing_rate=1.0, epochs=1))
    losses = np.array(row["group_losses"])
    assert row["proportions"] == pytest.approx(losses / losses.sum(), rel=1e-5)


def test_the_model_trains_in_training_mode_and_is_tested_in_the_other(toy):
    class TellsItsMode(torch.nn.Linear):
        def forward(self, inputs):
            return 0 * super().forward(inputs) + (100.0 if self.training else 0.0)

    run = run_of(replace(toy, model=lambda data, settings: TellsItsMode(3, 1)), epochs=2)
    for row in train(run):
        assert row["train_loss"] > 90**2
        assert row["test_error"] < 10**2


def test_time_is_that_of_training_alone(toy):
    class SlowToTest(torch.nn.Linear):
        def forward(self, inputs):
            if not self.training:
                time.sleep(0.5)
            return super().forward(inputs)

    task = replace(toy, model=lambda data, settings: SlowToTest(3, 1))
    (row,) = train(run_of(task, epochs=1))
    assert 0 < row["train_seconds"] < 0.4


def test_a_time_budget_ends_the_run_with_the_epoch_it_runs_out_in(toy, monkeypatch):
    clock = iter(np.arange(0, 100, 0.5))  # so that every epoch takes half a second
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert len(train(run_of(toy, epochs=9, time_budget=1.0))) == 2
    assert len(train(run_of(toy, epochs=9, time_budget=1.1))) == 3
    assert len(train(run_of(toy, epochs=2, time_budget=1.1))) == 2


@pytest.mark.parametrize("method", SUITABLE)
def test_a_loss_that_is_not_finite_names_the_run(toy, method):
    with pytest.raises(UserError, match=rf"toy {method} seed 0: .*the training loss became .*lr"):
        train(run_of(toy, method, optimizer="SGD", lr=1e9, epochs=20))


def test_weights_spoilt_by_an_epochs_last_step_are_not_reported(toy):
    with pytest.raises(UserError, match=r"toy classical seed 0: the test loss became (nan|inf)"):
        train(run_of(toy, optimizer="SGD", lr=1e30, batch_size=43))


def test_other_errors_of_a_method_are_not_taken_for_a_loss(toy):
    class Broken(Classical):
        def loss(self, losses, outputs, batch):
            raise ValueError("broken")

    with pytest.raises(ValueError, match=r"^broken$"):
        train(run_of(toy, Broken))


@pytest.mark.parametrize("method", ["classical", "importance"])
def test_no_step_waits_for_a_number(toy, monkeypatch, method):
    """On an accelerator each of these stops the host until the device has caught up."""
    run = run_of(toy, method, epochs=1, optimizer="SGD")  # Adam counts its steps in a tensor on the CPU
    training = Training(*run, run.data())
    waits = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "numpy"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *args, name=name, real=real: (waits.append(name), real(self, *args))[1]
        )
    per_epoch = []
    for num_batches in (5, 10):
        training.method.context = replace(training.method.context, num_batches=num_batches)
        waits.clear()
        training.train_epoch()
        per_epoch.append(len(waits))
    assert per_epoch[0] == per_epoch[1]


def test_augmentation_is_fresh_and_for_training_alone(toy):
    seen = []

    def augment(inputs, settings):
        seen.append(torch.rand(1).item())
        return inputs + 1000 * seen[-1]

    (row,) = train(run_of(replace(toy, augment=augment), epochs=1))
    (plain,) = train(run_of(toy, epochs=1))
    assert len(set(seen)) == 4
    assert row["train_loss"] > 10 * plain["train_loss"]


def test_the_optimizer_chosen_is_the_one_that_steps(toy):
    run = run_of(toy, optimizer="SGD", lr=0.125)
    assert Training(*run, run.data())._optimizer.param_groups[0]["lr"] == 0.125


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_run_on_cuda_agrees_with_one_on_the_cpu(method):
    task = TASKS["mean-estimation"] if METHODS[method].unsuitable(TASKS["mnist-5k"]) else TASKS["mnist-5k"]
    run = any_run(task, method)
    on_cpu, on_cuda = (
        next(Training(*run, tiny_data(task), torch.device(device)).epochs()) for device in ("cpu", "cuda")
    )
    assert on_cuda["test_loss"] == pytest.approx(on_cpu["test_loss"], rel=1e-2)


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
    data = run_of(TASKS["mnist-5k"]).data()
    model = lenet5(data)
    layers = [6 * 25 + 6, 16 * 6 * 25 + 16, 256 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10]
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(layers)
    assert model(data.test.inputs[:7]).shape == (7, 10)


def test_images_are_scaled_as_the_authors_do():
    data = run_of(TASKS["mnist-5k"]).data()
    normalise = lenet5(data)[0][0]
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert normalise(pixels).tolist() == pytest.approx([-1, -0.6, 1])
