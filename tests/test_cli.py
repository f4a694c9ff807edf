"""docs/configuration.md as it stands: a project configured from YAML, and everything public built by jsonargparse."""

import re
import shlex
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import learn2mix
from learn2mix import FixedMix, MixingCallback, PerSampleLoss

jsonargparse = pytest.importorskip("jsonargparse")
yaml = pytest.importorskip("yaml")

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf8")
PROJECT, TRAIN = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
CONFIG, OBJECTS = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
COMMANDS = re.search(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)[1].splitlines()
MIXES = [[0.38, 0.32, 0.30], [0.84, 0.11, 0.06], [1 / 3] * 3, [1 / 3] * 3, [0.0, 1.0, 0.0]]

LINES = """
class Lines(torch.utils.data.Dataset):
    def __init__(self, path: str):
        self.path = path

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return f"{self.path} {range(4)[index]}"


def nll(outputs, batch):
    return outputs["nll"]
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The files of the page, in a folder of their own."""
    (tmp_path / "project.py").write_text(PROJECT + LINES, encoding="utf8")
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "project", raising=False)
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tmp_path
    torch.set_rng_state(state)
    sys.modules.pop("project", None)


@pytest.mark.parametrize(("command", "mix"), zip(COMMANDS, MIXES, strict=True), ids=COMMANDS)
def test_the_command_trains_and_moves_the_mix(project, monkeypatch, capsys, command, mix):
    python, script, *arguments = shlex.split(command)
    assert (python, script) == ("python", "train.py")
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    monkeypatch.setattr(sys, "argv", [script, *arguments, *quiet])
    names: dict[str, Any] = {}
    exec(compile(TRAIN, script, "exec"), names)
    assert names["cli"].datamodule.mixer.proportions == pytest.approx(mix, abs=0.05)
    assert "[" in capsys.readouterr().out
    assert list(project.glob("lightning_logs/version_0/config.yaml"))


def test_a_bad_value_is_named(project, monkeypatch, capsys):
    from pytorch_lightning.cli import LightningCLI

    with pytest.raises((SystemExit, ValueError)) as stopped:
        LightningCLI(args=["fit", "-c", "config.yaml", "--data.mixer.mixing_rate=2"])
    assert "mixing_rate must lie in [0, 1], got 2.0" in capsys.readouterr().err + str(stopped.value)


def build(config):
    """Build one object as a parser does that knows no more than its class."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    _, name, *_ = config["class_path"].split(".")
    parser.add_argument("--built", type=getattr(learn2mix, name))
    return parser.instantiate(parser.parse_object({"built": config})).built


OBJECTS = yaml.safe_load(OBJECTS)


@pytest.mark.parametrize("config", OBJECTS, ids=[config["class_path"] for config in OBJECTS])
def test_it_can_be_built(project, config):
    name = config["class_path"].split(".")[1]
    assert type(build(config)).__name__ == name


def test_everything_public_is_built_on_the_page():
    built = set(re.findall(r"learn2mix\.(\w+)", PAGE))
    assert built >= set(learn2mix.__all__) - {"Mixer", "report"}


def test_what_is_built_holds_what_was_configured(project):
    loader = build(next(config for config in OBJECTS if config["class_path"].endswith("MixedLoader")))
    assert sorted(line for batch in loader for line in batch) == [f"web.txt {index}" for index in range(4)]
    stream = build(next(config for config in OBJECTS if config["class_path"].endswith("MixedStream")))
    assert stream.mixer.group_names == ["web", "books"]
    assert sorted(next(iter(stream))) == ["books.txt 0", "web.txt 0"]
    criterion = build(next(config for config in OBJECTS if config["class_path"].endswith("PerSampleLoss")))
    assert isinstance(criterion, PerSampleLoss)
    assert criterion.criterion is torch.nn.functional.mse_loss


@pytest.mark.parametrize("given", ["nll", "project.nll", None])
def test_losses_are_a_key_or_the_path_of_a_function(project, given):
    callback = build({"class_path": "learn2mix.MixingCallback", "init_args": {"losses": given}})
    assert isinstance(callback, MixingCallback)
    key = "losses" if given is None else "nll"
    losses = callback.find_losses(SimpleNamespace(automatic_optimization=True), {"loss": 1.0, key: 3}, None)
    assert losses == 3


def test_a_schedule_may_be_the_path_of_a_function(project):
    arguments = {"start": [1, 0], "end": [0, 1], "num_steps": 3, "schedule": "learn2mix.mixers.schedules.cosine"}
    mixer = build({"class_path": "learn2mix.AnnealedMix", "init_args": arguments})
    assert mixer.schedule is learn2mix.mixers.schedules.cosine


@pytest.mark.parametrize("proportions", [None, "uniform", [0.5, 0.5]])
def test_a_mix_is_nothing_a_name_or_a_list(proportions):
    mixer = build({"class_path": "learn2mix.FixedMix", "init_args": {"proportions": proportions}})
    assert isinstance(mixer, FixedMix)
    mixer.attach([0.9, 0.1], ["a", "b"])
    assert mixer.proportions.tolist() == ([0.9, 0.1] if proportions is None else [0.5, 0.5])
