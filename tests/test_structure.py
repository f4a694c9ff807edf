"""How the code is laid out: no module imports itself by a detour, and no file or class is too long to read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("learn2mix", "experiments")
    for path in (ROOT / package).rglob("*.py")
}


def imports_of(path):
    """Modules of ours that are imported when the module is, not those for annotations alone."""
    found, waiting = set(), list(ast.parse(path.read_text(encoding="utf8")).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module in FILES:
            # "from experiments import results" imports a module too.
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names} & FILES.keys()
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test):
            waiting += node.body + node.orelse
    return found


def reached_from(imports):
    """What each reaches, by what it imports and by what that imports in turn."""
    reached = {name: set(direct) for name, direct in imports.items()}
    for _ in imports:
        for name, there in reached.items():
            reached[name] = there.union(*(reached.get(other, set()) for other in there))
    return reached


def test_no_module_imports_itself_by_a_detour():
    reached = reached_from({name: imports_of(path) for name, path in FILES.items()})
    assert [name for name, there in reached.items() if name in there] == []
    assert "experiments.results" in reached["experiments.sweep"], "the search finds something"
    assert "learn2mix.checks" in reached["learn2mix.loader.loader"], "the search finds something"


def test_no_folder_of_the_library_imports_itself_by_a_detour():
    def place_of(name):
        """The folder that a module is in, or the module itself where it is in none."""
        return ".".join(name.split(".")[:2])

    imports = {}
    for name, path in FILES.items():
        if name.startswith("learn2mix."):
            places = {place_of(other) for other in imports_of(path)}
            imports.setdefault(place_of(name), set()).update(places - {place_of(name)})
    reached = reached_from(imports)
    assert [place for place, there in reached.items() if place in there] == []
    assert "learn2mix.batches" in reached["learn2mix.loader"], "the search finds something"


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_is_longer_than_300_lines_and_no_class_than_200(name):
    text = FILES[name].read_text(encoding="utf8")
    assert text.count("\n") <= (250 if name.startswith("experiments") else 300)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno < 200, node.name
