"""The table of the laws names code and tests that exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "laws.md").read_text(encoding="utf8")
ROWS = re.findall(r"^\| \*\*(\d)\. (.*?)\*\*.*?\| (.*?) \| (.*?) \|$", PAGE, flags=re.MULTILINE)


def test_there_are_nine():
    assert [int(number) for number, *_ in ROWS] == list(range(1, 10))


@pytest.mark.parametrize(("number", "name", "code", "tests"), ROWS)
def test_the_code_is_where_the_table_says(number, name, code, tests):
    places = re.findall(r"`([\w.]+)`", code)
    assert places
    for place in places:
        module, _, last = place.rpartition(".")
        if last[0].isupper() or module == "functional" or module.count("."):
            assert hasattr(importlib.import_module(f"learn2mix.{module}"), last), place
        else:
            importlib.import_module(f"learn2mix.{place}")


@pytest.mark.parametrize(("number", "name", "code", "tests"), ROWS)
def test_the_tests_are_where_the_table_says(number, name, code, tests):
    places = re.findall(r"`(\w+\.py)(?:::(\w+))?`", tests)
    assert places
    for file, function in places:
        tree = ast.parse((TESTS / file).read_text(encoding="utf8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in names if function else any(name.startswith("test_") for name in names), (file, function)
