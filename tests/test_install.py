"""What pip installs: from a clone, from the wheel, beside another torch, and from the source distribution."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fresh_environment
from fresh_environment import ROOT, Environment


def pip(environment: Environment, *arguments: object) -> str:
    """Run the pip of the tests on another environment, without an index; return what it prints."""
    command = [sys.executable, "-m", "pip", "--python", environment.folder / "bin" / "python", "--isolated", *arguments]
    seen = {name: value for name, value in os.environ.items() if name not in fresh_environment.HIDDEN}
    seen = {name: value for name, value in seen.items() if not name.startswith("PIP_")}
    seen["PIP_CONFIG_FILE"] = os.devnull
    done = subprocess.run(list(map(str, command)), env=seen, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_developer_has_what_builds_the_package():
    assert set(fresh_environment.project()["build-system"]["requires"]) <= set(fresh_environment.requirements("dev"))


@pytest.fixture(scope="module")
def beside_the_clone(tmp_path_factory):
    """A folder with a clone named learn2mix in it, and an environment into which that is installed, to be edited."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(ROOT / "learn2mix", folder / "learn2mix" / "learn2mix")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "learn2mix")
    backend = fresh_environment.project()["build-system"]["requires"]
    environment = fresh_environment.bare(folder / "env", [*fresh_environment.requirements(), *backend])
    pip(environment, "install", "--no-index", "--no-build-isolation", "-e", folder / "learn2mix")
    return folder, environment


WHERE = "import importlib.util; print(importlib.util.find_spec('learn2mix').origin)"


@pytest.mark.parametrize("by", ["code", "script", "module"])
@pytest.mark.parametrize("place", [".", "elsewhere", "learn2mix"])
def test_an_editable_install_is_found_wherever_one_stands(beside_the_clone, place, by):
    """Beside the clone its folder has the package's name, and Python could take it for one without an __init__.py."""
    folder, environment = beside_the_clone
    (folder / place).mkdir(exist_ok=True)
    (folder / place / "script.py").write_text(WHERE, encoding="utf8")
    how = {"code": ["-c", WHERE], "script": ["script.py"], "module": ["-m", "script"]}[by]
    told = environment.python(*how, cwd=folder / place).stdout.strip()
    assert Path(told) == folder / "learn2mix" / "learn2mix" / "__init__.py"


def test_an_editable_install_imports_beside_the_clone_and_takes_what_is_edited(beside_the_clone):
    folder, environment = beside_the_clone
    (folder / "learn2mix" / "learn2mix" / "written_later.py").write_text("ANSWER = 42", encoding="utf8")
    code = "from learn2mix import Learn2Mix; from learn2mix.written_later import ANSWER; print(Learn2Mix, ANSWER)"
    assert "42" in environment.python("-c", code, cwd=folder).stdout


def in_wheel(wheel):
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_whole_package_and_nothing_else(tmp_path):
    held = in_wheel(fresh_environment.build_wheel(tmp_path))
    package = {name for name in held if ".dist-info/" not in name}
    files = [path for path in (ROOT / "learn2mix").rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert package == {str(path.relative_to(ROOT)) for path in files}
    assert "learn2mix/py.typed" in package
    assert len({name.split("/")[1] for name in package}) > 10
    (info,) = {name.split("/")[0] for name in held - package}
    assert {name.removeprefix(f"{info}/") for name in held - package} == {
        "METADATA", "RECORD", "WHEEL", "licenses/LICENSE",
    }  # fmt: skip


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The source distribution, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(fresh_environment.build_sdist(folder)) as archive:
        archive.extractall(folder, filter="data")
    (found,) = (path for path in folder.iterdir() if path.is_dir())
    return found


def test_the_sdist_holds_all_that_the_repository_does(unpacked):
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone, so git cannot tell which files belong to it")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
    held = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert files - held == set()
    assert "tests/test_install.py" in held


def test_the_wheel_of_the_sdist_is_that_of_the_clone(unpacked, tmp_path):
    for source in (ROOT, unpacked):
        (tmp_path / source.name).mkdir()
    ours = fresh_environment.build_wheel(tmp_path / ROOT.name)
    theirs = fresh_environment.build_wheel(tmp_path / unpacked.name, source=unpacked)
    assert in_wheel(theirs) == in_wheel(ours)


def pytest_in(folder, *arguments):
    """Run tests of an unpacked source distribution; its own package is what they import."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    elsewhere = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([str(folder), *(part for part in elsewhere if part != str(ROOT))])
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_sdist_tests_itself(unpacked):
    """A few files of tests for the whole: the next test runs them all."""
    (unpacked / "tests" / "test_where.py").write_text(
        f"import learn2mix\n\ndef test_it():\n    assert learn2mix.__file__.startswith({str(unpacked)!r})\n"
    )
    pytest_in(unpacked, "--hypothesis-profile=fast", "tests/test_where.py", "tests/test_functional.py")


@pytest.mark.slow  # 3 min: pytest -m slow tests/test_install.py
def test_the_sdist_passes_the_fast_tests(unpacked):
    fast = ["-m", "not slow and not gpu and not heavy", "--ignore=tests/experiments", "--hypothesis-profile=fast"]
    pytest_in(unpacked, "-n", "2", *fast, "tests", "learn2mix")


def stub(name: str, version: str, *requires: str) -> dict[str, str]:
    """The files of a distribution that holds nothing."""
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {text}" for text in requires]
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return {f"{info}/METADATA": "\n".join(metadata) + "\n", f"{info}/WHEEL": wheel, f"{info}/RECORD": ""}


NEWER = [("torch", "2.14.1"), ("torchvision", "0.29.1", "torch==2.14.1"), ("torchmetrics", "1.9.0", "torch>=2.0")]
INSTALLED = [
    ("numpy", "1.26.4"),
    ("torch", "2.9.0"),
    ("torchmetrics", "1.6.0", "torch>=2.0"),
    ("pytorch-lightning", "2.6.0", "torch>=2.1", "torchmetrics>0.7"),
]


def test_pip_leaves_an_installed_older_torch_alone(tmp_path):
    environment = fresh_environment.bare(tmp_path / "env")
    for distribution in INSTALLED:
        for name, text in stub(*distribution).items():
            (environment.site_packages / name).parent.mkdir(exist_ok=True)
            (environment.site_packages / name).write_text(text, encoding="utf8")
    offered = tmp_path / "offered"
    offered.mkdir()
    for name, version, *requires in NEWER:
        with zipfile.ZipFile(offered / f"{name}-{version}-py3-none-any.whl", "w") as archive:
            for path, text in stub(name, version, *requires).items():
                archive.writestr(path, text)

    def planned(what):
        options = ["--dry-run", "--quiet", "--no-index", "--find-links", offered, "--report", "-"]
        report = json.loads(pip(environment, "install", *options, *what))
        return {one["metadata"]["name"]: one["metadata"]["version"] for one in report["install"]}

    wheel = fresh_environment.build_wheel(tmp_path)
    assert planned([wheel]).keys() == {"learn2mix"}
    # What it did when it asked for torchvision, too.
    assert planned([wheel, "torchvision"]).keys() == {"learn2mix", "torchvision", "torch"}
