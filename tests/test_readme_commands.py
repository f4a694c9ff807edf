"""README's commands from top to bottom: what is installed is what its install lines say, no more.

Its examples run in ``test_first_hour.py``, with what the first of these lines installs.
"""

import re
import shlex
import subprocess
import sys
from itertools import groupby
from operator import itemgetter

import pytest

import fresh_environment
from fresh_environment import ROOT, checked

sys.path.append(str(ROOT / "tests" / "experiments"))
from data_files import write_npz, write_wine

README = (ROOT / "README.md").read_text(encoding="utf8")
EXTRAS = fresh_environment.project()["project"]["optional-dependencies"].keys()
# What takes longest of what the benchmark imports.
IMPORTED = ["torchvision", "pandas", "matplotlib.pyplot", "sklearn.model_selection"]
# A user's own run takes minutes; the last of an option given twice counts.
SMALL = {"run": ["--epochs", "1", "--seeds", "1"], "demo": ["--epochs", "1", "--seeds", "1"]}


def extras_of(text):
    """The extras of an install line: of `pip install -e ".[plot,hf]"` both."""
    return {name for names in re.findall(r"\[([\w,-]+)\]", text) for name in names.split(",")}


BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with what a clone has beside the library, and with a folder DIR of data."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("experiments", "Makefile", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    write_wine(folder / "DIR")
    write_npz(folder / "DIR", "mydata")
    return folder


@pytest.fixture(scope="module")
def ended(fresh, clone):
    """How each command of each block ended, when all had run from top to bottom with the extras installed by then."""
    called, extras = [], set()
    for number, block in enumerate(BLOCKS):
        for line in block.splitlines():
            command, *words = shlex.split(line, comments=True)
            if command == "pip":
                extras |= extras_of(line)
            elif command == "make":  # sets itself up
                called += [(number, ("experiments",), small(words)) for words in benchmark_commands(clone, *words)]
            elif command == "python":
                called.append((number, tuple(sorted(extras)), small(words)))
    blocks = {number: [] for number in range(len(BLOCKS))}
    for extras, commands in groupby(called, key=itemgetter(1)):
        numbers, _, lines = zip(*commands, strict=True)
        done = fresh(*extras).pythons(lines, imported=IMPORTED, cwd=clone)
        for number, one in zip(numbers, done, strict=True):
            blocks[number].append(one)
    return blocks


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_its_commands_run(ended, number):
    for done in ended[number]:
        checked(done)
    assert ended[number]


def test_its_install_lines_name_what_can_be_installed():
    for line in "".join(BLOCKS).splitlines():
        command, *words = shlex.split(line, comments=True)
        if command == "pip":
            assert re.fullmatch(r"install -e \.(\[[\w,-]+\])?", " ".join(words))
            assert extras_of(line) <= EXTRAS


def benchmark_commands(clone, target):
    """Yield what a target runs of the benchmark; the rest, as pip and pytest, is of the target's own environment."""
    command = ["make", "--dry-run", target]
    lines = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=True).stdout.splitlines()
    yield from (line.split()[1:] for line in lines if "-m experiments" in line)


def small(words):
    """A line of arguments that takes seconds where a user's own takes minutes."""
    return [*words, *SMALL.get(next((word for word in words if word in SMALL), ""), [])]


def test_there_are_commands_and_install_lines():
    assert set(re.findall(r"^\w+", "".join(BLOCKS), flags=re.MULTILINE)) == {"pip", "make", "python"}


def test_extras_that_a_sentence_names_exist():
    named = {name for text in re.findall(r"`pip install ([^`]+)`", README) for name in extras_of(text)}
    assert {"plot", "hf", "experiments", "dev"} <= named <= EXTRAS
