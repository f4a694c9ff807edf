"""What a new user copies from README runs as it is, in an environment that holds the core requirements and no more."""

import ast
import re

import pytest

import readme
from fresh_environment import checked


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("new")


@pytest.fixture(scope="module")
def printed(fresh, folder):
    """Tells what an example of README prints last, and fails if the example did."""
    for name, code in readme.EXAMPLES.items():
        (folder / f"train_{name}.py").write_text(code, encoding="utf8")
    scripts = [[f"train_{name}.py"] for name in readme.EXAMPLES]
    done = fresh().pythons(scripts, imported=["torch", "torch._dynamo"], cwd=folder)  # optimizers import the second
    ended = dict(zip(readme.EXAMPLES, done, strict=True))
    return lambda name: checked(ended[name]).stdout.strip().splitlines()[-1]


def shares(line):
    return [float(number) for number in re.findall(r"[\d.]+(?:e-?\d+)?", line)]


@pytest.mark.parametrize("example", ["plain", "lightning"])
def test_the_example_trains_and_moves_the_mix(printed, folder, example):
    mix = shares(printed(example))
    assert sum(mix) == pytest.approx(1, abs=1e-6)
    assert mix[2] > 0.02  # of the data it has 0.01
    if example == "lightning":
        assert list(folder.rglob("*.ckpt"))  # the Trainer's own defaults


def test_a_stream_of_two_sources_is_mixed_as_asked(printed):
    assert ast.literal_eval(printed("stream")) == {"web": 1400, "books": 600}
