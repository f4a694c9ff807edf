"""The command line as a user meets it: other processes, exit codes, words on the screen."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import forks
from experiments.cli import main
from experiments.methods import METHODS
from experiments.training import Training

PROJECT = Path(__file__).parents[2]


def files(folder: Path) -> dict[str, int]:
    """All files with the time when they were written."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


RUNS = {
    "mean-estimation/classical/seed-0.json",
    "mean-estimation/learn2mix/seed-0.json",
    "mnist-5k/balanced/seed-0.json",
    "mnist-5k/classical/seed-0.json",
    "mnist-5k/fading/seed-0.json",
    "mnist-5k/learn2mix/seed-0.json",
}


def test_the_demo_runs_stores_tells_and_draws_and_does_nothing_twice(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LEARN2MIX_DATA", "no-such-folder")
    small = ["demo", "--epochs", "2", "--seeds", "1", "--out", str(tmp_path)]
    assert main(small) == 0
    first = capsys.readouterr()
    for part in ("mnist-5k", "mean-estimation", "learn2mix", "classical", "balanced", "test error, %", "worst group"):
        assert part in first.out
    assert "\x1b" not in first.out + first.err, "colours and bars are for terminals"
    assert len(first.err.splitlines()) == len(RUNS), first.err
    written = files(tmp_path)
    pictures = {name for name in written if name.endswith(".svg")}
    assert written.keys() - pictures == RUNS | {"report.html", "tables.md"}
    assert pictures == {"all-tasks-ratios.svg"} | {
        f"{task}-{what}.svg"
        for task in ("mnist-5k", "mean-estimation")
        for what in ("curves", "ratios", "train-test", "proportions", "groups")
    }
    for name in RUNS:
        assert len(json.loads((tmp_path / name).read_text())["history"]) == 2

    assert main(small) == 0
    second = capsys.readouterr()
    assert "6 of 6 runs are in" in second.err
    assert second.out == first.out
    assert {name: files(tmp_path)[name] for name in RUNS} == {name: written[name] for name in RUNS}


def test_ctrl_c_leaves_whole_files_and_says_how_to_go_on(tmp_path):
    out = tmp_path / "out"
    endless = ["run", "mean-estimation", "--epochs", "10", "--seeds", "1000", "--out", str(out)]
    command = forks.Command(lambda: main(endless), tmp_path)
    try:
        deadline = time.monotonic() + 120
        while len(list(out.rglob("seed-*.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        os.kill(command.pid, signal.SIGINT)
        code, stderr = command.wait()
    assert code == 130
    assert "stopped" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr
    left = files(out)
    assert len(left) >= 2
    for name in left:
        assert len(json.loads((out / name).read_text())["history"]) == 10


def test_who_reads_no_further_than_the_head_of_a_list_gets_no_traceback():
    listing = subprocess.Popen(
        [sys.executable, "-m", "experiments", "list"], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    listing.stdout.close()  # before anything is written
    assert listing.stderr.read() == b""
    listing.stderr.close()
    assert listing.wait(60) == 1


def test_list_shows_tasks_methods_and_settings_with_their_sources(capsys):
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    for part in ("wine-quality", "mnist-imbalanced", "classical", "learn2mix-epoch", "lr=0.0001 (paper"):
        assert part in text


@pytest.mark.parametrize("arguments", [["list"], ["run", "mnits"], ["run", "mnist", "--methods", "clasical"],
                                       ["run", "mnist", "--set", "epoch=3"], ["--help"]], ids=" ".join)  # fmt: skip
def test_what_trains_nothing_imports_nothing_that_takes_time(arguments):
    """Torch alone takes seconds, and that is all that a list or the answer to a typo would take."""
    program = (
        "import runpy, sys\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "try: runpy.run_module('experiments', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: print('code', end.code)\n"
        "slow = {'torch', 'numpy', 'pandas', 'rich', 'learn2mix', 'matplotlib', 'sklearn'} & sys.modules.keys()\n"
        "assert not slow, slow\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"code {2 if arguments[0] == 'run' else 0}" in ended.stdout


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
    page = tmp_path / "elsewhere" / "page.html"
    assert main(["report", str(tmp_path), "--out", str(page)]) == 0
    assert page.read_bytes() == (tmp_path / "report.html").read_bytes()


def test_threads_are_recorded(toy, tmp_path):
    assert main(["run", "toy", "--methods", "classical", "--seeds", "1", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "toy" / "classical" / "seed-0.json").read_text())
    assert record["environment"]["threads"] == 1


def test_the_data_root_comes_from_the_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LEARN2MIX_DATA", str(tmp_path / "mine"))
    assert main(["run", "wine-quality", "--out", str(tmp_path / "out")]) == 2
    assert str(tmp_path / "mine" / "tabular") in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run tyo", ["'tyo'", "did you mean toy?", "mnist-5k"]),
        ("run toy --methods fancy", ["'fancy'", "classical"]),
        ("run toy --set speed=1", ["'speed'", "batch_size"]),
        ("run toy --set lr=0", ["lr", "above 0", "'0'"]),
        ("run wine-quality --data-root missing-root", ["missing-root", "winequality-red.csv", "--data-root"]),
        ("report missing-runs", ["missing-runs", "seed-<n>.json"]),
        ("run toy --methods focal", ["nothing to run", "toy focal", "regression"]),
        ("run toy --device cuda", ["CUDA", "--device cpu"]),
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


@pytest.mark.parametrize(
    "arguments",
    ["run", "run toy --seeds 0", "run toy --epochs 1.5", "demo --threads -1", "run toy --time-budget 0",
     "run toy --jobs 0", "run toy --device tpu", "report", "nope"],
)  # fmt: skip
def test_a_malformed_command_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_all_methods_but_those_that_make_no_sense_are_run_and_these_are_told(toy, tmp_path, capsys):
    assert main(["run", "toy", "--methods", "all", "--seeds", "1", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "toy focal is left out: " in told.err
    stored = {path.parent.name for path in tmp_path.rglob("seed-0.json")}
    left_out = {path.parent.name for path in tmp_path.rglob("unsuitable.json")}
    assert stored | left_out == set(METHODS)
    assert stored.isdisjoint(left_out)
    assert {"focal", "logit-adjusted"} <= left_out
    assert main(["report", str(tmp_path)]) == 0
    assert "left out: " in (tmp_path / "tables.md").read_text()


def test_a_failing_run_is_named_last_and_the_others_are_reported(toy, tmp_path, capsys, monkeypatch):
    real_epochs = Training.epochs

    def epochs(self, *options):
        if str(self._run) == "toy learn2mix seed 0":
            raise OSError("[Errno 5] of the disk")
        return real_epochs(self, *options)

    run = ["run", "toy", "--methods", "learn2mix", "classical", "--seeds", "2", "--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(Training, "epochs", epochs)
        assert main(run) == 1
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "failed: toy learn2mix seed 0: OSError: [Errno 5] of the disk"
    assert "toy learn2mix, seeds 0: failed: OSError: [Errno 5] of the disk" in " ".join(told.out.split())
    assert main(run) == 0
    assert "failed" not in capsys.readouterr().out


def test_a_budget_of_time_ends_runs(toy, tmp_path, capsys):
    run = ["run", "toy", "--methods", "classical", "--seeds", "2", "--out", str(tmp_path)]
    assert main([*run, "--epochs", "1000000", "--time-budget", "0.05"]) == 0
    for seed in (0, 1):
        record = json.loads((tmp_path / "toy" / "classical" / f"seed-{seed}.json").read_text())
        assert record["config"]["time_budget"] == 0.05
        seconds = [row["train_seconds"] for row in record["history"]]
        assert sum(seconds) >= 0.05 > sum(seconds[:-1])
    assert "the budget of 0.05 s of training" in " ".join(capsys.readouterr().out.split())


def test_data_that_no_code_has_seen_run_and_are_reported_without_them(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "birds"
    folder.mkdir(parents=True)
    for part, num_each in (("train", 2), ("test", 1)):
        labels = np.repeat(np.arange(100), num_each)
        images = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{part}.npz", images=images, labels=labels)
    out = tmp_path / "out"
    run = ["run", "birds", "--seeds", "1", "--epochs", "1", "--data-root", str(tmp_path / "data"), "--out", str(out)]
    assert main(run) == 0
    record = json.loads((out / "birds" / "learn2mix" / "seed-0.json").read_text())
    assert len(record["groups"]["names"]) == 100
    shutil.rmtree(folder)
    told = capsys.readouterr().out
    assert "birds: test error, %" in told
    assert main(["report", str(out)]) == 0
    assert capsys.readouterr().out == told


def test_the_readmes_example_of_a_method_runs_and_is_reported(toy, tmp_path, capsys, monkeypatch):
    text = (PROJECT / "experiments" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(example, names)
    monkeypatch.setitem(METHODS, "hardest-part", names["HardestPart"])
    run = ["run", "toy", "--methods", "hardest-part", "classical", "--seeds", "2", "--out", str(tmp_path)]
    assert main(run) == 0
    assert "hardest-part" in capsys.readouterr().out
