"""A Python environment as a new user has it: the built wheel, and what it needs, and nothing else.

    environment = fresh_environment.make(tmp_path / "fresh")             # pip install learn2mix
    environment = fresh_environment.make(tmp_path / "fresh", "plot")     # pip install "learn2mix[plot]"
    done = environment.python("script.py", "--epochs", "1", cwd=tmp_path)
    done = environment.python("-c", "import learn2mix")
    done = environment.run("torchrun", "--nproc_per_node", "2", "train.py", cwd=tmp_path)
    first, second = environment.pythons([["one.py"], ["-m", "two"]], imported=["torch"], cwd=tmp_path)

`done` is a `subprocess.CompletedProcess` with text; a command that fails raises, with what it printed.

Each command is a process that imports what it needs; with `pythons` some share what they have imported.

It takes a second and no network: a virtual environment whose packages are links to those of the running environment,
exactly those that the requirements of learn2mix lead to. So matplotlib, transformers, pytest and what else a developer
has cannot be imported there. The versions are those that run the tests. Building the wheel takes what `[dev]` brings.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10; hatchling brings it there
    import tomli as tomllib
import venv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
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

# Does with each line of arguments what Python does with it, in a fork of its own; prints the exit codes.
FORKS = """
import gc, importlib, json, os, runpy, sys
imported, lines, folder = json.loads(sys.argv[1])
for name in imported:
    importlib.import_module(name)
gc.freeze()  # no fork looks through what all have
codes = []
for number, line in enumerate(lines):
    if os.fork() == 0:
        break
    codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
else:
    print(json.dumps(codes))
    raise SystemExit
for descriptor, name in ((1, "out"), (2, "err")):
    os.dup2(os.open(f"{folder}/{number}.{name}", os.O_CREAT | os.O_WRONLY), descriptor)
if line[0] == "-m":
    sys.argv, sys.path[0] = line[1:], os.getcwd()
    runpy.run_module(line[1], run_name="__main__", alter_sys=True)
elif line[0] == "-c":
    sys.argv = ["-c", *line[2:]]
    exec(line[1], {"__name__": "__main__"})
else:
    sys.argv = line
    sys.path[0] = os.path.dirname(os.path.abspath(line[0]))
    runpy.run_path(line[0], run_name="__main__")
"""


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
        line = [str(self.folder / "bin" / command), *map(str, arguments)]
        return checked(self._run(line, cwd, timeout, variables))

    def pythons(
        self, commands: Iterable[Sequence[object]], *, imported: Sequence[str], cwd: Path | None = None
    ) -> list[subprocess.CompletedProcess[str]]:
        """Run its Python on several lines of arguments, one after the other; each is `checked` by who asks for it.

        Each is a fork of one Python that has imported some modules and does nothing else, so these are paid for once.
        """
        lines = [list(map(str, arguments)) for arguments in commands]
        with tempfile.TemporaryDirectory() as folder:
            orders = json.dumps([imported, lines, folder])
            line = [str(self.folder / "bin" / "python"), "-c", FORKS, orders]
            codes = json.loads(checked(self._run(line, cwd, TIMEOUT * len(lines), {})).stdout)
            written = [
                [Path(folder, f"{number}.{name}").read_text(encoding="utf8") for name in ("out", "err")]
                for number in range(len(lines))
            ]
        return [
            subprocess.CompletedProcess(["python", *line], code, *texts)
            for line, code, texts in zip(lines, codes, written, strict=True)
        ]

    def _run(
        self, line: list[str], cwd: Path | None, timeout: float, variables: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        seen = {name: value for name, value in os.environ.items() if name not in HIDDEN}
        seen |= {"PATH": f"{self.folder / 'bin'}:{seen['PATH']}", "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"}
        options = {"cwd": cwd or self.folder, "env": seen | variables, "timeout": timeout, "check": False}
        return subprocess.run(line, capture_output=True, text=True, **options)


def checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The same; a `CommandError` is raised if it failed."""
    if done.returncode:
        raise CommandError(f"{done.args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
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
    installed, names = _installed(), {_name(found) for found in wanted}
    unwanted = {top for name, contents in installed.items() if name not in names for top in contents}
    site_packages = environment.site_packages
    for found in wanted:
        for top, files in installed[_name(found)].items():
            if top == "..":
                for file in files:
                    _copy_command(Path(found.locate_file(file)), environment)
                continue
            for part in files if top in unwanted else [top]:  # "google" and its like hold packages of several
                target, source = site_packages / part, Path(found.locate_file(part)).absolute()
                if not os.path.lexists(target) and source.exists():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.symlink_to(source)


@cache
def _installed() -> dict[str, dict[str, list[str]]]:
    """The files of each distribution of the running environment, by the folder or file at the top."""
    installed: dict[str, dict[str, list[str]]] = {}
    for found in distributions():
        contents = installed.setdefault(_name(found), {})
        for path in map(str, found.files or ()):
            contents.setdefault(path.partition("/")[0], []).append(path)
        contents.pop("__pycache__", None)
    return installed


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
