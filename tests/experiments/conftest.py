"""A task so small that every method trains on it in milliseconds."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import forks
from experiments.datasets import Data, Split
from experiments.models import two_layer
from experiments.settings import OURS, Setting, Values
from experiments.tasks import TASKS, Task
from experiments.tasks.task import REGRESSION

# What is forked for these tests is to have this imported too.
forks.CONTEXT.set_forkserver_preload(["experiments.execution", *forks.PRELOADED])

NUM_RARE = 10


def draw(num_common: int, num_rare: int, rng: np.random.Generator) -> Split:
    """Two groups of three features; the rare one's targets lie far off."""
    groups = np.repeat([0, 1], [num_common, num_rare])
    features = rng.normal(size=(len(groups), 3)) + groups[:, None]
    targets = features.sum(axis=1) + 5 * groups
    return Split(torch.from_numpy(features).float(), torch.from_numpy(targets).float(), torch.from_numpy(groups))


def load_toy(_root: Path, _settings: Values, rng: np.random.Generator) -> Data:
    """43 training samples: 4 batches of 10 leave 3 over."""
    return Data(draw(33, NUM_RARE, rng), draw(20, 20, rng), ("common", "rare"))


TOY = Task(
    name="toy",
    summary="two groups",
    load=load_toy,
    model=lambda data, _settings: two_layer(data),
    objective=REGRESSION,
    settings={
        "epochs": Setting(3, OURS),
        "batch_size": Setting(10, OURS),
        "optimizer": Setting("Adam", OURS),
        "lr": Setting(0.01, OURS),
    },
    method_settings={"every": Setting("step", OURS)},
)


@pytest.fixture(scope="session", autouse=True)
def _start_server() -> None:
    """The server of these tests' forks, before a sweep starts one that has imported less."""
    forks.start_server()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Task:
    """The toy task, known to the command line for the time of a test."""
    monkeypatch.setitem(TASKS, TOY.name, TOY)
    return TOY


@pytest.fixture
def section_of(toy, tmp_path):
    """Makes the section of the report that some records come to."""
    from experiments.report.collect import collect
    from made_up import write

    def make(*records: dict):
        write(tmp_path, *records)
        (section,), _ = collect([tmp_path])
        return section

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data sets, where there is one."""
    root = Path(os.environ.get("LEARN2MIX_DATA", ""))
    if "LEARN2MIX_DATA" not in os.environ or not (root / "tabular" / "winequality-red.csv").is_file():
        pytest.skip("LEARN2MIX_DATA names no folder with the real data sets")
    return root


@pytest.fixture
def folder(toy, tmp_path):
    return tmp_path
