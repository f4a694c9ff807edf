"""``import learn2mix`` is light, and its public names are all there."""

import subprocess
import sys

import pytest

import learn2mix

HEAVY = ["pytorch_lightning", "lightning", "torchmetrics", "torchvision", "matplotlib"]


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded when it has run some code."""
    command = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def test_importing_learn2mix_loads_nothing_heavy():
    code = """
import learn2mix
sampler = learn2mix.MixedBatchSampler([0, 0, 1], learn2mix.Learn2Mix(), batch_size=2)
for batch in sampler:
    sampler.observe([1.0, 2.0])
learn2mix.PerSampleLoss(lambda x: x)
"""
    loaded = modules_after(code)
    assert "learn2mix.sampler" in loaded
    assert not loaded & set(HEAVY)


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
    ],
)
def test_public_names_can_be_imported(name):
    assert getattr(learn2mix, name).__name__ == name
    assert name in learn2mix.__all__
    assert name in dir(learn2mix)


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
