"""README from top to bottom as a new user goes through it: what is installed is what its install lines say, no more."""

import re
import shlex
import subprocess
import sys

import pytest

import fresh_environment
from fresh_environment import ROOT

sys.path.append(str(ROOT / "tests" / "experiments"))
from data_files import write_npz, write_wine

README = (ROOT / "README.md").read_text(encoding="utf8")
EXTRAS = fresh_environment.project()["project"]["optional-dependencies"].keys()
# A user's own run takes minutes; the last of an option given twice counts.
SMALL = {"run": ["--epochs", "1", "--seeds", "1"], "demo": ["--epochs", "1", "--seeds", "1"]}


def extras_of(text):
    """The extras of an install line: of `pip install -e ".[plot,hf]"` both."""
    return {name for names in re.findall(r"\[([\w,-]+)\]", text) for name in names.split(",")}


def blocks():
    """Every block of commands and every example in order, each with the extras installed by then."""
    installed = set()
    found = re.findall(r"^```(sh|python)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    for number, (language, block) in enumerate(found):
        if language == "sh":
            installed |= extras_of("".join(re.findall(r"^pip install .*", block, flags=re.MULTILINE)))
        yield pytest.param(language, block, frozenset(installed), id=f"{number}-{language}")


BLOCKS = list(blocks())


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """Environments by their extras, each made once."""
    made = {}

    def get(extras):
        extras = frozenset(extras)
        if extras not in made:
            made[extras] = fresh_environment.make(tmp_path_factory.mktemp("fresh") / "env", *sorted(extras))
        return made[extras]

    return get


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with what a clone has beside the library, and with a folder DIR of data."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("experiments", "Makefile", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    write_wine(folder / "DIR")
    write_npz(folder / "DIR", "mydata")
    return folder


@pytest.mark.parametrize(("language", "block", "extras"), BLOCKS)
def test_it_runs(language, block, extras, environments, clone):
    if language == "python":
        (clone / "example.py").write_text(block, encoding="utf8")
        environments(extras).python("example.py", cwd=clone)
        return
    for line in block.splitlines():
        command, *words = shlex.split(line, comments=True)
        if command == "pip":
            assert re.fullmatch(r"install -e \.(\[[\w,-]+\])?", " ".join(words))
            assert extras_of(line) <= EXTRAS
        elif command == "make":
            for called in benchmark_commands(clone, *words):
                run_small(environments({"experiments"}), called, clone)
        else:
            run_small(environments(extras), [command, *words], clone)


def benchmark_commands(clone, target):
    """Yield what a target runs of the benchmark; the rest, as pip and pytest, is of the target's own environment."""
    command = ["make", "--dry-run", target]
    lines = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True).stdout.splitlines()
    yield from (["python", *line.split()[1:]] for line in lines if "-m experiments" in line)


def run_small(environment, command, folder):
    what = next((word for word in command if word in SMALL), "")
    environment.run(*command, *SMALL.get(what, []), cwd=folder)


def test_there_are_examples_commands_and_install_lines():
    assert {language for block in BLOCKS for language in block.values[:1]} == {"python", "sh"}
    commands = "".join(block.values[1] for block in BLOCKS if block.values[0] == "sh")
    assert set(re.findall(r"^\w+", commands, flags=re.MULTILINE)) >= {"pip", "make", "python"}


def test_extras_that_a_sentence_names_exist():
    named = {name for text in re.findall(r"`pip install ([^`]+)`", README) for name in extras_of(text)}
    assert {"plot", "hf", "experiments", "dev"} <= named <= EXTRAS
