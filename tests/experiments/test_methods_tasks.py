"""Every kind of task with every method, and every task: one tiny epoch, on equal terms."""

import copy
import json
from dataclasses import replace

import pytest
import torch

from experiments.methods import METHODS
from experiments.tasks import TASKS
from experiments.training import Training
from tiny import BATCH_SIZE, run_of, tiny_data

NUM_BATCHES = 2  # of the paper's P = N / M = 18 / 8
# The tiny data are those of a kind, so tasks of one kind differ in a few numbers. ldam-drw exchanges the last layer.
OF_EACH_TASK = ("classical", "learn2mix", "ldam-drw")
TORCHVISION = {"mobilenet-v3-small": "torchvision", "resnet18": "torchvision"}  # made by one function; slow


def kind_of(task):
    model = task.settings["model"].value if "model" in task.settings else None
    return task.inputs, task.objective.kind, TORCHVISION.get(model, model)


def pairs():
    """All methods with the first task of each kind, and a few with the others."""
    kinds = set()
    for name, task in TASKS.items():
        for method in OF_EACH_TASK if kind_of(task) in kinds else METHODS:
            if METHODS[method].unsuitable(task) is None:
                yield name, method
        kinds.add(kind_of(task))


PAIRS = list(pairs())


def test_every_task_and_every_method_is_among_the_pairs():
    assert {task for task, _ in PAIRS} == set(TASKS)
    assert {method for _, method in PAIRS} == set(METHODS)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights_of(training):
    """All in a row; torch's own function takes no weights with their channels last in memory."""
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()]).clone()


@pytest.mark.parametrize(("task", "method"), PAIRS)
def test_every_method_trains_on_every_kind_of_task(task, method):
    task = TASKS[task]
    drawn = []
    training = Training(*run_of(task, method), tiny_data(task))
    weights = weights_of(training)
    training._train = Counting(training._train, drawn)
    (row,) = training.epochs()

    assert drawn == [BATCH_SIZE] * NUM_BATCHES
    assert not torch.equal(weights_of(training), weights)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["epoch"] == 1
    assert row["train_seconds"] > 0
    assert min(row["train_loss"], row["test_loss"], row["train_error"], row["test_error"]) >= 0
    assert sum(row["proportions"]) == pytest.approx(1)
    for name in ("group_losses", "train_by_group", "test_by_group", "proportions"):
        assert len(row[name]) == 4
    assert None not in row["test_by_group"]
    assert sum(row["test_by_group"]) / 4 == pytest.approx(row["test_error"], rel=1e-4)
    assert ("test_accuracy" in row) == (task.objective.kind == "classification")


class Counting:
    """The training part, with a note of how many samples are gathered each time."""

    def __init__(self, samples, drawn):
        self._samples, self._drawn = samples, drawn

    def __getitem__(self, index):
        self._drawn.append(len(index))
        return self._samples[index]


@pytest.mark.parametrize("task", ["mnist-5k", "mean-estimation", "mnist-reconstruction", "imdb"])
def test_all_methods_of_a_task_start_from_the_same_weights_and_random_numbers(task):
    task = TASKS[task]
    starts = []

    def model(data, settings):
        network = task.model(data, settings)
        starts.append(copy.deepcopy(network.state_dict()))
        return network

    reference = None
    for method in METHODS.values():
        if method.unsuitable(task) is None:
            starts.clear()
            run = run_of(replace(task, model=model), method)
            training = Training(*run, tiny_data(task))
            state = weights_of(training)
            numbers = torch.rand(3)
            reference = reference or (state, numbers)
            # Its last layer is another; test_methods_ldam.py holds it to the same start.
            assert method.name == "ldam-drw" or torch.equal(state, reference[0])
            assert torch.equal(numbers, reference[1])
            if method.name == "curriculum":
                warm_up, own = (torch.cat([value.flatten() for value in start.values()]) for start in starts)
                assert not torch.equal(warm_up, own)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_method_and_every_refusal_a_reason(task):
    reasons = {name: method.unsuitable(TASKS[task]) for name, method in METHODS.items()}
    for name in ("classical", "learn2mix", "balanced", "importance", "curriculum", "static", "one-shot", "reweighted"):
        assert reasons[name] is None
    for reason in filter(None, reasons.values()):
        assert reason[0].islower()
        assert not reason.endswith(".")
