"""What a new user copies from README runs as it is, in an environment that holds the core requirements and no more."""

import ast
import re

import pytest

import fresh_environment
import readme


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return fresh_environment.make(tmp_path_factory.mktemp("new") / "environment")


def printed(environment, example, folder):
    """Run an example of README in a folder of its own; return what it prints last."""
    (folder / "train.py").write_text(readme.EXAMPLES[example], encoding="utf8")
    return environment.python("train.py", cwd=folder).stdout.strip().splitlines()[-1]


def shares(line):
    return [float(number) for number in re.findall(r"[\d.]+(?:e-?\d+)?", line)]


@pytest.mark.parametrize("example", ["plain", "lightning"])
def test_the_example_trains_and_moves_the_mix(environment, example, tmp_path):
    mix = shares(printed(environment, example, tmp_path))
    assert sum(mix) == pytest.approx(1, abs=1e-6)
    assert mix[2] > 0.02  # of the data it has 0.01
    if example == "lightning":
        assert list(tmp_path.rglob("*.ckpt"))  # the Trainer's own defaults


def test_a_stream_of_two_sources_is_mixed_as_asked(environment, tmp_path):
    assert ast.literal_eval(printed(environment, "stream", tmp_path)) == {"web": 1400, "books": 600}
