"""Sweeps in processes of their own, and what is left of them when they are killed, stopped or broken."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

import forks
from experiments import results
from experiments.cli import main
from experiments.execution import RunOptions
from experiments.plan import plan
from experiments.sweep import sweep

PATIENCE_SECONDS = 120

SWEEP = ["run", "mean-estimation", "--methods", "learn2mix", "classical", "static", "--seeds", "2", "--epochs", "8"]
NUM_RUNS = 6


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
        for key in ("preparation_seconds", "environment", "command"):
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
    out = tmp_path / "out"
    command = forks.Command(lambda: main([*SWEEP, "--out", str(out), "--jobs", str(jobs)]), tmp_path)
    wait_until(lambda: num_stored(out) >= 2, "runs are stored")
    os.kill(command.pid, signal.SIGSTOP)  # else it might be done by the time that its workers are found
    workers = psutil.Process(command.pid).children(recursive=True)
    assert len(workers) >= (jobs if jobs > 1 else 0)
    os.kill(command.pid, signal.SIGKILL)
    code, _ = command.wait()
    assert code == -signal.SIGKILL
    wait_until(lambda: not any(one.is_running() for one in workers), "workers go when the sweep is gone")
    assert 2 <= num_stored(out) < NUM_RUNS
    before = {path: path.stat().st_mtime_ns for path in out.rglob("seed-*.json")}
    assert main([*SWEEP, "--out", str(out)]) == 0
    assert stored(out) == unbroken
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was stored is not done again"


def test_ctrl_c_ends_everything_at_once_and_leaves_whole_files(tmp_path):
    out = tmp_path / "out"
    endless = ["run", "mean-estimation", "--epochs", "20", "--seeds", "1000", "--out", str(out), "--jobs", "2"]
    command = forks.Command(lambda: main(endless), tmp_path)
    try:
        wait_until(lambda: num_stored(out) >= 2, "runs are stored")
        workers = psutil.Process(command.pid).children(recursive=True)
        assert len(workers) >= 2
    finally:
        # What a terminal does: every process of the group is interrupted.
        os.killpg(command.pid, signal.SIGINT)
        code, stderr = command.wait()
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE_SECONDS)
    assert alive == []
    assert code == 130
    assert stderr.splitlines()[-1].startswith("stopped; finished runs are stored")
    assert "Traceback" not in stderr
    assert not list(out.rglob("*.part"))
    for record in stored(out).values():
        assert len(record["history"]) == 20


def test_a_worker_that_is_killed_and_a_run_that_fails_cost_no_other_run(tmp_path, monkeypatch):
    good = plan(["mean-estimation"], ["classical"], 3, {"epochs": 20})
    bad = plan(["mean-estimation"], ["balanced"], 1, {"optimizer": "SGD", "lr": 1e9})
    killed = []

    def kill_once(_bar, *_progress):  # the first epoch that is shown
        if not killed:
            killed.append(1)
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    monkeypatch.setattr("tqdm.tqdm.update", kill_once)
    failures = sweep([*good, *bad], RunOptions(tmp_path, jobs=2), tmp_path)
    errors = {str(failure.run): failure.error for failure in failures}
    assert "the training loss became" in errors.pop("mean-estimation balanced seed 0")
    (error,) = errors.values()
    assert "its worker process was killed by SIGKILL" in error
    assert num_stored(tmp_path) == len(good) - 1
    assert len(list(results.read_failures(tmp_path))) == 2
    assert multiprocessing.active_children() == []

    assert sweep(good, RunOptions(tmp_path), tmp_path) == []
    assert num_stored(tmp_path) == len(good)
    assert [failure["method"] for failure in results.read_failures(tmp_path)] == ["balanced"]


def test_two_sweeps_into_one_folder_at_once_do_each_run_once(tmp_path, unbroken):
    out = tmp_path / "out"
    commands = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        commands.append(forks.Command(lambda: main([*SWEEP, "--no-report", "--out", str(out)]), tmp_path / name))
    ended = [command.wait() for command in commands]
    assert [code for code, _ in ended] == [0, 0]
    assert stored(out) == unbroken
    assert sum(stderr.count(" epochs in ") for _, stderr in ended) == NUM_RUNS, "each run is done by one of them"
    assert not list(out.rglob("*.lock"))
