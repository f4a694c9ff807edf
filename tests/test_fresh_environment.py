"""The environments in which tests try the library as a new user has it hold what was asked for, and no more."""

import os
from pathlib import Path

import pytest

import fresh_environment

CORE = {"numpy", "torch", "pytorch_lightning", "torchmetrics"}
FOUND = "import importlib.util, sys; print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name)))"


def importable(environment, names):
    return set(environment.python("-c", FOUND, *names).stdout.split())


@pytest.mark.parametrize(
    ("extras", "brought"),
    [
        ((), set()),
        (("plot",), {"matplotlib"}),
        (("hf",), {"transformers", "accelerate", "datasets", "pandas", "rich"}),
        (("experiments",), {"matplotlib", "pandas", "torchvision", "rich", "sklearn"}),
    ],
    ids=["core", "plot", "hf", "experiments"],  # a set has another order in each of the tests' processes
)
def test_it_holds_what_an_extra_brings_and_no_more(tmp_path, extras, brought):
    environment = fresh_environment.make(tmp_path / "fresh", *extras)
    others = {"matplotlib", "transformers", "accelerate", "datasets", "pandas", "torchvision", "rich", "sklearn"}
    others |= {"pytest", "hypothesis", "lightning", "tensorboard"}
    assert importable(environment, CORE | others) == CORE | brought


def test_learn2mix_is_that_of_the_wheel_also_where_pythonpath_names_the_source(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(fresh_environment.ROOT), prepend=os.pathsep)
    environment = fresh_environment.make(tmp_path / "fresh")
    told = environment.python("-c", "import learn2mix; print(learn2mix.__file__)").stdout.strip()
    assert Path(told).parent == environment.site_packages / "learn2mix"


def test_a_command_that_fails_raises_with_what_it_printed(tmp_path):
    environment = fresh_environment.bare(tmp_path / "bare")
    with pytest.raises(fresh_environment.CommandError, match="ZeroDivisionError"):
        environment.python("-c", "1 / 0")


def test_commands_of_packages_run_with_its_python(tmp_path):
    environment = fresh_environment.bare(tmp_path / "bare", ["torch"])
    (tmp_path / "script.py").write_text("import sys; print(sys.prefix)", encoding="utf8")
    told = environment.run("torchrun", "--standalone", "--nproc_per_node", "1", "script.py", cwd=tmp_path).stdout
    assert told.strip() == str(environment.folder)


def test_what_is_not_installed_here_cannot_be_linked(tmp_path):
    with pytest.raises(fresh_environment.CommandError, match="no-such-package"):
        fresh_environment.bare(tmp_path / "bare", ["no-such-package>=1"])
