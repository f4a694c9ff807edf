"""What the check says of the code does not depend on what else lies in the clone."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
IGNORED = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines() if line.endswith("/")]


def complaints(clone):
    """All that ruff complains of."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "."]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_folders_that_a_run_leaves_change_nothing(tmp_path):
    """One of them is called as a module of the tests: were it taken for the module, imports had another order."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    clean = complaints(tmp_path)
    assert "runs" in IGNORED
    for name in IGNORED:
        if "*" not in name:
            (tmp_path / name / "demo").mkdir(parents=True)
            (tmp_path / name / "demo" / "seed-0.json").write_text("{}")
    assert complaints(tmp_path) == clean
