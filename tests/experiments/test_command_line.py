"""The command line as a user meets it: other processes, exit codes, words on the screen."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.cli import main

PROJECT = Path(__file__).parents[2]


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "experiments", *map(str, arguments)]


def experiments(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONUTF8": "1"} | environment,
        timeout=300,
        check=False,
    )


def files(folder: Path) -> dict[str, int]:
    """All files with the time when they were written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


RUNS = {
    "mean-estimation/classical/seed-0.json",
    "mean-estimation/learn2mix/seed-0.json",
    "mnist-5k/balanced/seed-0.json",
    "mnist-5k/classical/seed-0.json",
    "mnist-5k/learn2mix/seed-0.json",
}


def test_the_demo_runs_stores_tells_and_draws_and_does_nothing_twice(tmp_path, capsys):
    small = ("demo", "--epochs", 2, "--seeds", 1, "--out", tmp_path)
    first = experiments(*small, LEARN2MIX_DATA="no-such-folder")
    assert first.returncode == 0, first.stderr
    for part in ("mnist-5k", "mean-estimation", "learn2mix", "classical", "balanced", "test error, %", "worst group"):
        assert part in first.stdout
    assert "\x1b" not in first.stdout + first.stderr, "colours and bars are for terminals"
    assert len(first.stderr.splitlines()) == len(RUNS), first.stderr
    written = files(tmp_path)
    pictures = {name for name in written if name.endswith(".png")}
    assert written.keys() - pictures == RUNS
    assert pictures == {
        f"{task}-{what}.png" for task in ("mnist-5k", "mean-estimation") for what in ("curves", "proportions")
    }
    for name in RUNS:
        assert len(json.loads((tmp_path / name).read_text())["history"]) == 2

    assert main([str(argument) for argument in small]) == 0
    second = capsys.readouterr()
    assert "5 of 5 runs are in" in second.err
    assert second.out == first.stdout
    assert {name: files(tmp_path)[name] for name in RUNS} == {name: written[name] for name in RUNS}


def test_ctrl_c_leaves_whole_files_and_says_how_to_go_on(tmp_path):
    endless = command("run", "mean-estimation", "--epochs", 300, "--seeds", 1000, "--out", tmp_path)
    process = subprocess.Popen(endless, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.rglob("seed-*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    left = files(tmp_path)
    assert len(left) >= 2
    for name in left:
        assert len(json.loads((tmp_path / name).read_text())["history"]) == 300


def test_list_shows_tasks_methods_and_settings_with_their_sources(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for part in ("wine-quality", "mnist-imbalanced", "classical", "learn2mix-epoch", "batch_size=1000 (paper)"):
        assert part in text


def test_run_reports_at_its_end_and_report_says_the_same(toy, tmp_path, capsys):
    run = ["run", "toy", "--methods", "learn2mix", "classical", "--seeds", "2", "--epochs", "4", "--out", str(tmp_path)]
    assert main([*run, "--set", "lr=0.02", "mixing_rate=0.3"]) == 0
    told = capsys.readouterr().out
    record = json.loads((tmp_path / "toy" / "learn2mix" / "seed-1.json").read_text())
    assert record["config"] == {
        "epochs": 4, "batch_size": 10, "optimizer": "Adam", "lr": 0.02, "mixing_rate": 0.3, "every": "step",
    }  # fmt: skip
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out == told


def test_threads_are_recorded(toy, tmp_path):
    assert main(["run", "toy", "--methods", "classical", "--seeds", "1", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "toy" / "classical" / "seed-0.json").read_text())
    assert record["environment"]["threads"] == 1


def test_the_data_root_comes_from_the_environment(tmp_path):
    result = experiments("run", "wine-quality", "--out", tmp_path / "out", LEARN2MIX_DATA=str(tmp_path / "mine"))
    assert result.returncode == 2
    assert str(tmp_path / "mine" / "tabular") in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run tyo", ["'tyo'", "mnist-5k"]),
        ("run toy --methods fancy", ["'fancy'", "classical"]),
        ("run toy --set momentum=1", ["'momentum'", "batch_size"]),
        ("run toy --set lr=0", ["lr", "above 0", "'0'"]),
        ("run wine-quality --data-root missing-root", ["missing-root", "winequality-red.csv", "--data-root"]),
        ("report missing-runs", ["missing-runs", "seed-<n>.json"]),
    ],
)
def test_a_users_mistake_is_one_message(toy, tmp_path, capsys, arguments, words):
    verb, *rest = arguments.split()
    out = [] if verb == "report" else ["--out", str(tmp_path)]
    assert main([verb, *rest, *out]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert all(word in error for word in words)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("arguments", ["run", "run toy --seeds 0", "run toy --epochs 1.5", "demo --threads -1", "nope"])
def test_a_malformed_command_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
