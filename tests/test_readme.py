"""The README's examples run as they stand, and the commands it names exist."""

import os
import re
import warnings
from pathlib import Path

import pytest

import forks

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_there_is_a_lightning_and_a_plain_example():
    assert ["LightningModule" in example for example in EXAMPLES] == [True, False]


@pytest.mark.parametrize("example", EXAMPLES, ids=["lightning", "plain"])
def test_the_example_runs_and_moves_the_mix(example, tmp_path):
    def script(_rank):
        warnings.simplefilter("ignore")
        os.chdir(tmp_path)
        names = {"__name__": "__main__"}
        exec(compile(example, "README.md", "exec"), names)
        return names["sampler"].mixer.proportions

    (proportions,) = forks.results(script, 1, tmp_path)
    assert proportions[2] > 0.02  # it began at 0.01


def test_make_has_the_targets_that_are_named():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf8"), flags=re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)) <= targets
