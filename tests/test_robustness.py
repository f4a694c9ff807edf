"""Every test that docs/robustness.md names exists, in the file that it names."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "robustness.md").read_text(encoding="utf8")
NAMED = re.findall(r"`(\w+\.py)::(\w+)`", PAGE)


def functions_of(file):
    """Names of all test functions of a file, also those in classes."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_the_tests_that_are_named_exist(file):
    assert {name for other, name in NAMED if other == file} <= functions_of(file)


def test_every_row_names_a_test():
    rows = [row for row in re.findall(r"^\|.*\|$", PAGE, flags=re.MULTILINE) if "::" not in row]
    assert all(re.match(r"\| (what|groups|10|10,000) \||\|---", row) for row in rows), rows
    assert len(NAMED) > 40
