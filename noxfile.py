"""The library's own tests on the oldest and on the newest versions of what it is built on.

nox              both
nox -s oldest    what `make oldest` calls

pyproject.toml alone says which versions are allowed. Python 3.10, the oldest, is taken where it is installed; elsewhere
the Python that runs nox stands in for it, and the session says so.
"""

import shutil
import subprocess

import nox
from packaging.requirements import Requirement

nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
OLDEST_PYTHON = PROJECT["requires-python"].removeprefix(">=")
# Packages of the extras that go with one version of torch or of Lightning.
BOUND = {"lightning", "torchvision"}


def runs(python: str) -> bool:
    """Whether there is such a Python: pyenv has a command also for one that it does not run."""
    return (
        shutil.which(python) is not None
        and subprocess.run([python, "-c", ""], stderr=subprocess.DEVNULL).returncode == 0
    )


def floors() -> list[str]:
    """Return each "name>=version" of the dependencies, and of what goes with them, as "name==version"."""
    extras = PROJECT["optional-dependencies"]
    bound = [Requirement(text) for texts in extras.values() for text in texts]
    wanted = [Requirement(text) for text in PROJECT["dependencies"]] + [one for one in bound if one.name in BOUND]
    return [f"{one.name}=={floor.version}" for one in wanted for floor in one.specifier if floor.operator == ">="]


@nox.session(python=OLDEST_PYTHON if runs(f"python{OLDEST_PYTHON}") else None, reuse_venv=True)
def oldest(session: nox.Session) -> None:
    """Run the tests on the oldest versions that pyproject.toml allows."""
    if session.python is None:
        session.warn(f"no python{OLDEST_PYTHON} here: with the Python that runs nox")
    session.install(*floors(), "-e", ".[dev]")
    core_tests(session)


@nox.session(reuse_venv=True)
def newest(session: nox.Session) -> None:
    """Run the tests on the newest versions that pyproject.toml allows."""
    session.install("--upgrade", "--upgrade-strategy", "eager", "-e", ".[dev]")
    core_tests(session)


def core_tests(session: nox.Session) -> None:
    """Show the versions and run what `make fast` runs, with the long runs and less the doctests."""
    session.run("python", "-m", "pip", "list")
    session.run("make", "core", f"BIN={session.bin}", external=True)
