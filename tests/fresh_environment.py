"""A Python environment as a new user has it: the built wheel, and what it needs, and nothing else.

    environment = fresh_environment.make(tmp_path / "fresh")             # pip install learn2mix
    environment = fresh_environment.make(tmp_path / "fresh", "plot")     # pip install "learn2mix[plot]"
    done = environment.python("script.py", "--epochs", "1", cwd=tmp_path)
    done = environment.python("-c", "import learn2mix")
    done = environment.run("torchrun", "--nproc_per_node", "2", "train.py", cwd=tmp_path)

`done` is a `subprocess.CompletedProcess` with text; a command that fails raises, with what it printed.

It takes a second and no network: a virtual environment whose packages are links to those of the running environment,
exactly those that the requirements of learn2mix lead to. So matplotlib, transformers, pytest and what else a developer
has cannot be imported there. The versions are those that run the tests. Building the wheel takes what `[dev]` brings.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; hatchling brings it there
    import tomli as tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
NAME = "learn2mix"
TIMEOUT = 300  # seconds for one command
# What would let a command see more than its environment, or print in another way than at a user's.
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST", "PYTHONWARNINGS")


class CommandError(AssertionError):
    """A command failed; the message has what it printed."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder."""

    folder: Path

    @property
    def site_packages(self) -> Path:
        """Where its packages are."""
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def python(self, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        """Run its Python; options as for `run`."""
        return self.run("python", *arguments, **options)

    def run(
        self, command: str, *arguments: object, cwd: Path | None = None, timeout: float = TIMEOUT, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run one of its commands in a folder, by default its own, and raise a `CommandError` if that fails.

        Variables are added to those of this process, less what would let the command see other packages.
        """
        seen = {name: value for name, value in os.environ.items() if name not in HIDDEN}
        seen |= {"PATH": f"{self.folder / 'bin'}:{seen['PATH']}", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        line = [str(self.folder / "bin" / command), *map(str, arguments)]
        done = subprocess.run(
            line,
            cwd=cwd or self.folder,
            env=seen | variables,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise CommandError(f"{line} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


def make(folder: Path, *extras: str, also: Iterable[str] = (), wheel: Path | None = None) -> Environment:
    """Make an environment in which learn2mix is installed from its wheel.

    Args:
        folder: where; it is made.
        extras: those of pyproject.toml, as in `pip install "learn2mix[plot]"`.
        also: other requirements, each with its own, for example ``"hatchling"``.
        wheel: an already built wheel; None builds one.
    """
    environment = bare(folder, [*requirements(*extras), *also])
    with zipfile.ZipFile(wheel or build_wheel(folder)) as archive:
        archive.extractall(environment.site_packages)
    return environment


def bare(folder: Path, wanted: Iterable[str] = ()) -> Environment:
    """Make an environment with some requirements and theirs, without learn2mix."""
    venv.create(folder, with_pip=False, symlinks=True)
    environment = Environment(folder)
    _link(list(closure(wanted)), environment)
    return environment


def build_wheel(folder: Path, source: Path = ROOT) -> Path:
    """Build the wheel of a source tree, by default this one, into a folder, as pip would."""
    return _build("wheel", folder, source)


def build_sdist(folder: Path) -> Path:
    """Build the source distribution of this source tree into a folder."""
    return _build("sdist", folder, ROOT)


def _build(kind: str, folder: Path, source: Path) -> Path:
    backend = project()["build-system"]["build-backend"]
    code = f"import {backend} as backend, sys; print(backend.build_{kind}(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(f"the {kind} cannot be built\n{done.stdout}\n{done.stderr}")
    return folder / done.stdout.split()[-1]


def project() -> dict:
    """What pyproject.toml says."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))


def requirements(*extras: str) -> list[str]:
    """What pyproject.toml asks for, with some extras and those that they name in turn."""
    table = project()["project"]
    found: list[str] = list(table["dependencies"])
    for extra in extras:
        for text in table["optional-dependencies"][extra]:
            requirement = Requirement(text)
            found += requirements(*requirement.extras) if requirement.name == NAME else [text]
    return found


def closure(wanted: Iterable[str]) -> Iterator[Distribution]:
    """Yield the installed distributions that some requirements lead to."""
    seen: set[tuple[str, str]] = set()
    yielded: set[str] = set()
    waiting = [(Requirement(text), "") for text in wanted]
    while waiting:
        requirement, by_extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate(default_environment() | {"extra": by_extra}):
            continue
        name = canonicalize_name(requirement.name)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError as error:
            raise CommandError(f"{requirement} is asked for and not installed in this environment") from error
        if name not in yielded:
            yielded.add(name)
            yield found
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(text), extra) for text in found.requires or ()]


def _link(wanted: list[Distribution], environment: Environment) -> None:
    """Link files of distributions into an environment: whole folders, unless they hold those of others, too."""
    names = {_name(found) for found in wanted}
    unwanted = {part for other in distributions() if _name(other) not in names for part in _top_level(other)}
    for found in wanted:
        for path in found.files or ():
            top = path.parts[0]
            if top == "..":
                _copy_command(Path(found.locate_file(path)), environment)
            elif top != "__pycache__":
                part = path if top in unwanted else Path(top)  # "google" and its like hold packages of several
                target = environment.site_packages / part
                source = Path(found.locate_file(part)).absolute()
                if not os.path.lexists(target) and source.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.symlink_to(source)


def _copy_command(path: Path, environment: Environment) -> None:
    """Copy a script of a distribution, such as torchrun, to run with the environment's Python."""
    path = path.resolve()
    if path.parent.name != "bin" or not path.is_file():
        return
    text = path.read_bytes()
    if re.match(rb"#!.*python", text):
        target = environment.folder / "bin" / path.name
        target.write_bytes(f"#!{environment.folder / 'bin' / 'python'}\n".encode() + text.split(b"\n", 1)[1])
        target.chmod(0o755)


def _name(found: Distribution) -> str:
    return canonicalize_name(found.metadata["Name"])


def _top_level(found: Distribution) -> set[str]:
    return {path.parts[0] for path in found.files or ()} - {"..", "__pycache__"}
