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
def test_it_holds_what_an_extra_brings_and_no_more(fresh, extras, brought):
    others = {"matplotlib", "transformers", "accelerate", "datasets", "pandas", "torchvision", "rich", "sklearn"}
    others |= {"pytest", "hypothesis", "lightning", "tensorboard"}
    assert importable(fresh(*extras), CORE | others) == CORE | brought


def test_learn2mix_is_that_of_the_wheel_also_where_pythonpath_names_the_source(fresh, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(fresh_environment.ROOT), prepend=os.pathsep)
    told = fresh().python("-c", "import importlib.util; print(importlib.util.find_spec('learn2mix').origin)").stdout
    assert Path(told.strip()).parent == fresh().site_packages / "learn2mix"


def test_a_command_that_fails_raises_with_what_it_printed(tmp_path):
    environment = fresh_environment.bare(tmp_path / "bare")
    with pytest.raises(fresh_environment.CommandError, match="ZeroDivisionError"):
        environment.python("-c", "1 / 0")


def test_commands_of_packages_run_with_its_python(tmp_path):
    environment = fresh_environment.bare(tmp_path / "bare", ["pytest"])
    (tmp_path / "test_it.py").write_text("import sys; print('at', sys.prefix)", encoding="utf8")
    with pytest.raises(fresh_environment.CommandError, match=f"at {environment.folder}\n"):
        environment.run("pytest", "test_it.py", "-s", cwd=tmp_path)


TELL = """
import sys
print("name", __name__, sep="=")
print("arguments", sys.argv[1:], sep="=")
print("path", sys.path[0], sep="=")
print("prefix", sys.prefix, sep="=")
print("imported", "wave" in sys.modules, sep="=")
print("others", [name for name in sys.modules if name == "mine"], sep="=")
sys.modules["mine"] = sys
print("words", file=sys.stderr)
sys.exit(3)
"""


def test_commands_that_share_imports_are_processes_like_others(tmp_path):
    environment = fresh_environment.bare(tmp_path / "bare")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tell.py").write_text(TELL, encoding="utf8")
    (tmp_path / "elsewhere" / "tell.py").write_text(TELL, encoding="utf8")
    lines = [["-c", TELL, "a"], ["tell.py", "b"], ["elsewhere/tell.py"], ["-m", "tell", "c"], ["-c", "1 / 0"]]
    *alike, failed = environment.pythons(lines, imported=["wave"], cwd=tmp_path)
    for line, shared in zip(lines, alike, strict=False):
        assert shared.returncode == 3
        told = dict(pair.split("=") for pair in shared.stdout.splitlines())
        assert told.pop("imported") == "True"
        assert told.pop("others") == "[]", "what one does is not seen by the next"
        with pytest.raises(fresh_environment.CommandError) as alone:
            environment.python(*line, cwd=tmp_path)
        assert all(f"{name}={value}\n" in str(alone.value) for name, value in told.items())
    with pytest.raises(fresh_environment.CommandError, match="ZeroDivisionError"):
        fresh_environment.checked(failed)


def test_what_is_not_installed_here_cannot_be_linked(tmp_path):
    with pytest.raises(fresh_environment.CommandError, match="no-such-package"):
        fresh_environment.bare(tmp_path / "bare", ["no-such-package>=1"])
