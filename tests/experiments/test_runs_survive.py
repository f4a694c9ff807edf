"""Sweeps in processes of their own, and what is left of them when they are killed, stopped or broken."""

import io
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console

import forks
from experiments import storage
from experiments.cli import main
from experiments.execution import Conditions
from experiments.progress import SweepProgress
from experiments.runs import plan
from experiments.sweep import sweep

PATIENCE_SECONDS = 120

# The static runs need the learn2mix runs' records: they may be lost at any point too.
SWEEP = ["run", "mean-estimation", "--methods", "learn2mix", "classical", "static", "--seeds", "2", "--epochs", "30"]
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
    out = tmp_path / "out"
    pids = tmp_path / "pids.txt"

    def killed_after_two_runs() -> int:
        tell = SweepProgress.epoch_done

        def epoch_done(self, run, event):
            if num_stored(out) >= 2:
                pids.write_text(" ".join(str(worker.pid) for worker in multiprocessing.active_children()))
                os.kill(os.getpid(), signal.SIGKILL)
            tell(self, run, event)

        SweepProgress.epoch_done = epoch_done
        return main([*SWEEP, "--out", str(out), "--jobs", str(jobs)])

    code, _ = forks.Command(killed_after_two_runs, tmp_path).wait()
    assert code == -signal.SIGKILL
    workers = [int(pid) for pid in pids.read_text().split()]
    assert len(workers) == (jobs if jobs > 1 else 0)
    wait_until(lambda: not any(map(psutil.pid_exists, workers)), "workers go when the sweep is gone")
    assert 2 <= num_stored(out) < NUM_RUNS
    before = {path: path.stat().st_mtime_ns for path in out.rglob("seed-*.json")}
    assert main([*SWEEP, "--out", str(out)]) == 0
    assert stored(out) == unbroken
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was stored is not done again"


def test_ctrl_c_ends_everything_at_once_and_leaves_whole_files(tmp_path):
    out = tmp_path / "out"
    endless = ["run", "mean-estimation", "--epochs", "100", "--seeds", "1000", "--out", str(out), "--jobs", "2"]
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
    # Workers that are forked have everything imported; the tests above start them as the sweep does.
    monkeypatch.setattr(multiprocessing, "get_context", lambda _method: forks.CONTEXT)
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
