"""Sweeps in processes of their own, and what is left of them when they are killed, stopped or broken."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from experiments import storage
from experiments.cli import main
from experiments.execution import Conditions
from experiments.progress import SweepProgress
from experiments.runs import plan
from experiments.sweep import sweep

PROJECT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120

# The static runs need the learn2mix runs' records: they may be lost at any point too.
SWEEP = ["run", "mean-estimation", "--methods", "learn2mix", "classical", "static", "--seeds", "2", "--epochs", "30"]
NUM_RUNS = 6


def start(*arguments: object) -> subprocess.Popen:
    """The command in a process group of its own, as a terminal makes one."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments", *map(str, arguments)],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not happened():
        assert time.monotonic() < deadline, f"waited too long until {what}"
        time.sleep(0.01)


def stored(out: Path) -> dict[str, dict]:
    """All runs below a folder, without what differs from one training to the next."""
    records = {}
    for path in sorted(out.rglob("*.json")):
        record = json.loads(path.read_text())
        for key in ("preparation_seconds", "environment"):
            del record[key]
        for row in record["history"]:
            del row["train_seconds"]
        records[str(path.relative_to(out))] = record
    return records


def num_stored(out: Path) -> int:
    return len(list(out.rglob("seed-*.json")))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> dict[str, dict]:
    out = tmp_path_factory.mktemp("unbroken")
    assert main([*SWEEP, "--out", str(out)]) == 0
    records = stored(out)
    assert len(records) == NUM_RUNS
    return records


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_started_again_is_as_unbroken(tmp_path, unbroken, jobs):
    process = start(*SWEEP, "--out", tmp_path, "--jobs", jobs)
    wait_until(lambda: num_stored(tmp_path) >= 2, "runs are stored")
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=PATIENCE_SECONDS)
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert alive == [], "workers go when the sweep is gone"
    assert num_stored(tmp_path) < NUM_RUNS, "the kill came too late to test anything"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("seed-*.json")}
    assert main([*SWEEP, "--out", str(tmp_path)]) == 0
    assert stored(tmp_path) == unbroken
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was stored is not done again"


def test_ctrl_c_ends_everything_at_once_and_leaves_whole_files(tmp_path):
    process = start(
        "run", "mean-estimation", "--epochs", 100, "--seeds", 1000, "--out", tmp_path, "--jobs", 2
    )  # fmt: skip
    try:
        wait_until(lambda: num_stored(tmp_path) >= 2, "runs are stored")
        workers = psutil.Process(process.pid).children(recursive=True)
        assert len(workers) >= 2
        # What a terminal does: every process of the group is interrupted.
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
        _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
        assert alive == []
    finally:
        process.kill()
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("stopped; finished runs are stored")
    assert "Traceback" not in stderr
    assert not list(tmp_path.rglob("*.part"))
    for record in stored(tmp_path).values():
        assert len(record["history"]) == 100


def test_a_worker_that_is_killed_and_a_run_that_fails_cost_no_other_run(tmp_path, monkeypatch):
    good = plan(["mean-estimation"], ["classical"], 3, {"epochs": 20})
    bad = plan(["mean-estimation"], ["balanced"], 1, {"optimizer": "SGD", "lr": 1e9})
    killed = []

    def kill_once(self, run, event):
        if not killed:
            killed.append(str(run))
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    monkeypatch.setattr(SweepProgress, "epoch_done", kill_once)
    failures = sweep([*good, *bad], Conditions(tmp_path, jobs=2), tmp_path, Console(file=io.StringIO()))
    errors = {str(run): error for run, error in failures}
    assert "the training loss became" in errors.pop("mean-estimation balanced seed 0")
    (error,) = errors.values()
    assert "its worker process was killed by SIGKILL" in error
    assert num_stored(tmp_path) == len(good) - 1
    assert len(list(storage.read_failures(tmp_path))) == 2
    assert multiprocessing.active_children() == []

    assert sweep(good, Conditions(tmp_path), tmp_path, Console(file=io.StringIO())) == []
    assert num_stored(tmp_path) == len(good)
    assert [failure["method"] for failure in storage.read_failures(tmp_path)] == ["balanced"]
