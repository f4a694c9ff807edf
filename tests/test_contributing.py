"""What CONTRIBUTING.md and the public CI name is there."""

import ast
import re

import pytest

from fresh_environment import ROOT, project

yaml = pytest.importorskip("yaml")

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf8"), flags=re.MULTILINE))
NOX = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf8"))
SESSIONS = {node.name for node in NOX.body if isinstance(node, ast.FunctionDef) and "nox.session" in ast.unparse(node)}
WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf8"))
# The house: folders that are of the repository, not left by a run.
FOLDERS = {"benchmarks", "docs", "experiments", "learn2mix", "notebooks", "tests"}
NAMED = set(re.findall(r"`([\w./-]*[\w-]+(?:/|\.\w+))`", PAGE)) - {".venv"}


def test_the_files_and_folders_that_it_names_exist():
    assert len(NAMED) > 20
    inside = [ROOT, ROOT / "learn2mix", ROOT / "learn2mix" / "lightning"]  # a row names files of its folder alone
    assert [name for name in NAMED if not any((place / name).exists() for place in inside)] == []


def test_it_names_every_folder():
    for folder in FOLDERS:
        assert (ROOT / folder).is_dir()
        assert f"| `{folder}/`" in PAGE
    parts = {path.parent.name for path in (ROOT / "learn2mix").glob("*/__init__.py")}
    assert {part for part in parts if f"| `learn2mix/{part}/`" not in PAGE} == set()


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        path, _, heading = target.partition("#")
        assert (ROOT / path).is_file()
        assert f"# {heading.replace('-', ' ')}" in (ROOT / path).read_text(encoding="utf8").lower() or not heading


def test_its_commands_exist():
    assert set(re.findall(r"make ([\w-]+)", PAGE)) - {"benchmark", "docs"} == {"fast", "test", "oldest"}
    assert set(re.findall(r"make ([\w-]+)", PAGE)) <= TARGETS
    assert set(re.findall(r"nox -s (\w+)", PAGE)) <= SESSIONS
    extras = set(re.findall(r'needs_extra\("(\w+)"\)', PAGE))
    assert extras
    assert extras <= project()["project"]["optional-dependencies"].keys()


def test_the_public_ci_calls_the_same_commands():
    steps = [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]
    assert steps == ["make test", "python -m pip install nox", "nox -s ${{ matrix.session }}"]
    versions = WORKFLOW["jobs"]["versions"]["strategy"]["matrix"]["include"]
    assert {case["session"] for case in versions} == SESSIONS == {"oldest", "newest"}
    wanted = [text for text in project()["project"]["classifiers"] if re.search(r":: 3\.\d+$", text)]
    tested = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert [text.split(":: ")[-1] for text in wanted] == tested


def test_a_commit_is_checked_as_the_ci_checks_it():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf8"))["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == ["make lint"]
    assert "lint" in TARGETS
