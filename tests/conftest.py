"""What all tests share: examples that are the same on every run, and the global random states held still."""

import importlib.metadata
import inspect
import os
import random
import signal
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

import fresh_environment
from browser import Browser, find_chromium
from cheap_workers import make_forks_cheap, move_to_large_pages
from loops import KINDS, Loop, make

# One thread: the tensors are small, and a process forked from one that has a pool of threads may wait for it for ever.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# Where the tests run in the background of a shell, Ctrl-C is ignored, also by the processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each Trainer asks all installed packages for callbacks of theirs: 7 ms a time, for an answer that stays the same.
# Before any test file imports Lightning, which keeps the function. The other is asked twice.
importlib.metadata.entry_points = cache(importlib.metadata.entry_points)
importlib.metadata.packages_distributions = cache(importlib.metadata.packages_distributions)

settings.register_profile(
    "learn2mix",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("learn2mix")
settings.register_profile("fast", settings.get_profile("learn2mix"), max_examples=15)  # of make fast


ROOT = Path(__file__).parent.parent

# What `make fast` leaves out: tests that start processes, and those of pages, notebooks and experiments. They are told
# by their folder, by what their file imports, by the workers that they have or speak of, by the file's name, or else by
# a mark of their own.
HEAVY_FOLDERS = {ROOT / "tests" / "experiments", ROOT / "experiments"}
HEAVY_IMPORTS = {"forks", "fresh_environment", "subprocess", "multiprocessing", "nbformat", "psutil"}
HEAVY_FILES = {
    "test_cli.py",
    "test_docs.py",
    "test_loader_trainer.py",
    "test_stream_memory.py",
    "test_stream_orders_found_again.py",
    "test_studies.py",
}
# And whole runs that are stopped and go on, under Lightning, the Hugging Face Trainer or in a loop, statistics of many
# draws, and steps that are compiled: these take long.
LONG_FILES = {
    "test_agreement.py",
    "test_any_order.py",
    "test_callback_resume.py",
    "test_callback_validation.py",
    "test_compiled_steps.py",
    "test_history.py",
    "test_hugging_face.py",
    "test_hugging_face_streams.py",
    "test_interrupted.py",
    "test_permutation.py",
    "test_stream_resume.py",
}


def is_heavy(item: pytest.Item) -> bool:
    """Whether a test is left out where there is a minute only."""
    if not HEAVY_FOLDERS.isdisjoint(item.path.parents) or item.path.name in HEAVY_FILES:
        return True
    if not isinstance(item, pytest.Function):  # a doctest
        return False
    if not {"browser", "fresh"}.isdisjoint(item.fixturenames) or not HEAVY_IMPORTS.isdisjoint(vars(item.module)):
        return True
    params = item.callspec.params if hasattr(item, "callspec") else {}
    if "num_workers" in params:
        return params["num_workers"] != 0
    if "no workers" in item.name:
        return False
    return "workers" in item.name or speaks_of_workers(item.function)


@cache
def speaks_of_workers(function: Callable[..., object]) -> bool:
    """Looked for once, not for each set of parameters."""
    return "workers" in inspect.getsource(function)


def pytest_configure(config: pytest.Config) -> None:
    """Hide what GPUs there are, but from a run of the tests that are marked so: the others expect a CPU."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is heavy, and what takes long; skip what needs a GPU where there is none."""
    there = torch.cuda.is_available() or os.environ.get("LEARN2MIX_TEST_DEVICE") == "cpu"  # see on_device.py
    without_gpu = pytest.mark.skipif(not there, reason="needs a GPU, and pytest -m gpu")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(without_gpu)
        if is_heavy(item):
            item.add_marker("heavy")
        if item.path.name in LONG_FILES:
            item.add_marker("long")


def pytest_collection_finish() -> None:
    """Everything is imported."""
    make_forks_cheap()


@pytest.fixture(scope="module", autouse=True)
def cheap_forks() -> None:
    """What the tests of other files left in memory makes no fork slower."""
    move_to_large_pages()


@pytest.fixture
def untouched_random_state() -> Iterator[None]:
    """Fail if the test changed the global random state of numpy, torch or the standard library."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    yield
    after = random.getstate(), np.random.get_state(), torch.get_rng_state()
    assert after[0] == before[0], "the test changed the state of random"
    assert all(np.array_equal(now, then) for now, then in zip(after[1], before[1], strict=True)), "numpy.random"
    assert torch.equal(after[2], before[2]), "torch.random"


@pytest.fixture
def unforked() -> BaseContext:
    """For processes that know of this one only what is pickled, as spawned ones do, in a tenth of the time."""
    import forks  # not on Windows, which has no server that forks

    forks.start_server()
    return forks.CONTEXT


@pytest.fixture(params=KINDS)
def loop(request: pytest.FixtureRequest) -> Loop:
    """A loop over each kind of loader."""
    return make(request.param)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium, for all tests of a process."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("there is no Chromium here; Debian's package is called chromium")
    with Browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., fresh_environment.Environment]:
    """Environments by their extras, as ``fresh("plot")``: each made once, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("fresh")

    @cache
    def wheel() -> Path:
        return fresh_environment.build_wheel(folder)

    @cache
    def made(*extras: str) -> fresh_environment.Environment:
        return fresh_environment.make(folder / "-".join(["core", *extras]), *extras, wheel=wheel())

    return made
