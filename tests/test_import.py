"""``import learn2mix`` is light, and its public names are all there."""

import subprocess
import sys

import pytest

import learn2mix

HEAVY = ["pytorch_lightning", "lightning", "torchmetrics", "torchvision", "matplotlib", "transformers", "accelerate"]
HEAVY += ["IPython", "pandas"]


# The second is run after the first, in the same fresh interpreter.
SAMPLING = """
import learn2mix
sampler = learn2mix.MixedBatchSampler([0, 0, 1], learn2mix.Learn2Mix(), batch_size=2)
for batch in sampler:
    sampler.observe([1.0, 2.0])
learn2mix.PerSampleLoss(lambda x: x)
"""
IN_MEMORY = """
import torch
from learn2mix.data import InMemory
whole = torch.utils.data.TensorDataset(torch.ones(3), torch.ones(3))
InMemory.of(whole, device="cpu")[[0, 2]]
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """The modules that a fresh interpreter has loaded when it has run each part."""
    tell = "print(*sys.modules)\n"
    command = [sys.executable, "-c", f"import sys\n{SAMPLING}{tell}{IN_MEMORY}{tell}"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {part: set(line.split()) for part, line in zip((SAMPLING, IN_MEMORY), told, strict=True)}


def test_importing_learn2mix_loads_nothing_heavy(loaded):
    assert "learn2mix.batches.sampler" in loaded[SAMPLING]
    assert not loaded[SAMPLING] & set(HEAVY)


@pytest.mark.parametrize(
    "name",
    [
        "Mixer",
        "Learn2Mix",
        "FixedMix",
        "Partition",
        "MixedBatchSampler",
        "PerSampleLoss",
        "GroupLossMeter",
        "MixingCallback",
        "report",
    ],
)
def test_public_names_can_be_imported(name):
    assert getattr(learn2mix, name).__name__ == name
    assert name in learn2mix.__all__
    assert name in dir(learn2mix)


def test_data_in_memory_load_nothing_heavy(loaded):
    assert "learn2mix.data.in_memory" in loaded[IN_MEMORY]
    assert not loaded[IN_MEMORY] & set(HEAVY)


@pytest.mark.parametrize("name", ["__version__", "functional", "mixers"])
def test_what_else_is_public_can_be_found(name):
    assert name in dir(learn2mix)
    assert hasattr(learn2mix, name)


def test_the_formulas_can_be_imported():
    from learn2mix.functional import apportion, update_proportions

    assert callable(apportion)
    assert callable(update_proportions)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'learn2mix' has no attribute 'MixedStreams'"):
        _ = learn2mix.MixedStreams


def test_the_types_are_published():
    from importlib.resources import files

    assert (files(learn2mix) / "py.typed").is_file()


USER = """
import numpy as np
import torch

from learn2mix import AnnealedMix, FixedMix, Learn2Mix, MixedBatchSampler, Partition, ReweightedLoss

array, tensor = np.array([0.5, 0.5]), torch.tensor([0.5, 0.5])
mixers = [FixedMix(array), FixedMix(tensor), FixedMix("uniform"), FixedMix([0.5, 0.5]), FixedMix(None)]
AnnealedMix(array, tensor, num_steps=3)
Learn2Mix(initial=array)
sampler = MixedBatchSampler([0, 1], FixedMix(), batch_size=2)
sampler.observe_validation(tensor.mean(), [tensor.mean(), tensor.mean()])
sampler.mixer.proportions = array
sampler.mixer.proportions = [0.5, 0.5]
Partition.by_dataset({"a": [1], "b": [1]})
Partition.by_dataset([[1], [2]], np.array(["a", "b"]))
ReweightedLoss(torch.nn.MSELoss(reduction="none"), FixedMix(), [0, 1])(tensor, tensor, groups=[0, 1])
"""


@pytest.mark.slow  # 30 s: pytest -m slow tests/test_import.py passed on 2026-11-23
def test_a_type_checker_takes_what_users_write(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "user.py").write_text(USER, encoding="utf8")
    said, *_ = api.run(["--strict", "--no-warn-unused-ignores", f"--cache-dir={tmp_path}", str(tmp_path / "user.py")])
    assert said.startswith("Success"), said
