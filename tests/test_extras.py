"""The library needs its core dependencies alone; what needs an extra says so where that is missing."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fresh_environment
from fresh_environment import ROOT, CommandError, checked

# Lightning's own progress bar does not go without the first; the second is asked only in a notebook, which runs in it.
THERE = {"tqdm", "ipython"}
EXTRAS = fresh_environment.project()["project"]["optional-dependencies"]
DISTRIBUTIONS = packages_distributions()
FILES = sorted((ROOT / "learn2mix").rglob("*.py"))


def brought(*extras):
    """The distributions that pyproject.toml asks for by name."""
    return {canonicalize_name(Requirement(text).name) for text in fresh_environment.requirements(*extras)}


def imports_of(path):
    """Yield the packages that a file imports anywhere, and the extra that it says brings them, or None."""
    waiting = [(ast.parse(path.read_text(encoding="utf8")), None)]
    while waiting:
        node, extra = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, (ast.With, ast.Try)):
            words = ast.unparse(node.items if isinstance(node, ast.With) else node.handlers)
            said = re.search(r"needs_extra\('(\w+)'\)|pip install \"learn2mix\[(\w+)\]", words)
            extra = said[1] or said[2] if said else extra
        if isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0], extra
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], extra) for alias in node.names)
        waiting += [(child, extra) for child in ast.iter_child_nodes(node)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_what_its_requirements_bring(path):
    for package, extra in imports_of(path):
        if package not in sys.stdlib_module_names | {"learn2mix"}:
            names = set(map(canonicalize_name, DISTRIBUTIONS[package]))
            assert names & (brought(*[extra] if extra else []) | THERE), f"{package} ({extra or 'no extra'})"


def test_the_search_finds_imports_and_the_extras_that_they_need():
    assert set(imports_of(ROOT / "learn2mix" / "plotting.py")) >= {("numpy", None), ("matplotlib", "plot")}


PICTURES = "import learn2mix.plotting"
IN_MEMORY = "from learn2mix.data import InMemory; print(InMemory.of([(1.5, 0), (2.5, 1)])[:])"
LIST, REPORT = ["-m", "experiments", "list"], ["-m", "experiments", "report", "experiments/results"]


def test_pictures_without_matplotlib_name_the_extra_and_data_are_read_into_memory_without_one(fresh):
    pictures, in_memory = fresh().pythons([["-c", PICTURES], ["-c", IN_MEMORY]], imported=["torch"])
    with pytest.raises(CommandError, match=r'matplotlib.*pip install "learn2mix\[plot\]"'):
        checked(pictures)
    assert "tensor([1.5000, 2.5000]" in checked(in_memory).stdout


def test_the_benchmark_lists_without_its_packages_and_names_the_extra_in_one_line_where_it_needs_them(fresh):
    assert "wine-quality" in fresh().python(*LIST, cwd=ROOT).stdout
    with pytest.raises(CommandError, match=r'pip install "learn2mix\[experiments\]"') as error:
        fresh().python(*REPORT, cwd=ROOT)
    assert "ended with 2" in str(error.value)
    assert "Traceback" not in str(error.value)
