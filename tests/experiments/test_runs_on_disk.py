"""Runs survive: whole files only, nothing done twice, nothing reused that was made otherwise."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from experiments import storage, sweep
from experiments.errors import UserError
from experiments.runs import Run, plan
from experiments.training import Training


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def do(runs: list[Run], out: Path) -> None:
    sweep.sweep(runs, Path("no-such-folder"), out, quiet())


def stored(out: Path) -> dict[str, dict]:
    """All files below a folder, without what differs from one training to the next."""
    records = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            record = json.loads(path.read_text())
            for row in record["history"]:
                del row["train_seconds"]
            records[str(path.relative_to(out))] = record
    return records


@pytest.fixture
def runs(toy) -> list[Run]:
    return plan(["toy"], ["learn2mix", "classical"], 2, {})


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """The names of the runs whose training starts."""
    names = []

    class Counting(Training):
        def __init__(self, run, data):
            names.append(str(run))
            super().__init__(run, data)

    monkeypatch.setattr(sweep, "Training", Counting)
    return names


def test_a_record_has_the_form_of_the_design(runs, tmp_path):
    do(runs[:1], tmp_path)
    record = json.loads((tmp_path / "toy" / "learn2mix" / "seed-0.json").read_text())
    assert {"task", "method", "seed", "config", "environment", "history"} <= record.keys()
    assert (record["task"], record["method"], record["seed"]) == ("toy", "learn2mix", 0)
    assert record["config"] == {
        "epochs": 3, "batch_size": 10, "optimizer": "Adam", "lr": 0.01, "mixing_rate": 0.1, "every": "step",
    }  # fmt: skip
    assert {"versions", "device", "threads", "commit"} <= record["environment"].keys()
    assert [row["epoch"] for row in record["history"]] == [1, 2, 3]
    assert record["groups"]["names"] == ["common", "rare"]
    assert record["groups"]["train_counts"] == [33, 10]
    assert record["groups"]["initial_proportions"] == pytest.approx([33 / 43, 10 / 43])


def test_a_second_sweep_does_only_what_is_missing(runs, tmp_path, trained):
    do(runs, tmp_path)
    unbroken = stored(tmp_path)
    (tmp_path / "toy" / "classical" / "seed-1.json").unlink()
    trained.clear()
    do(runs, tmp_path)
    assert trained == ["toy classical seed 1"]
    assert stored(tmp_path) == unbroken
    trained.clear()
    do(runs, tmp_path)
    assert trained == []


def test_a_sweep_that_is_stopped_goes_on_as_if_it_were_not(runs, tmp_path, monkeypatch):
    do(runs, tmp_path / "unbroken")
    real_epochs = Training.epochs

    def stop_in_third_run(self):
        for row in real_epochs(self):
            if str(self._run) == "toy learn2mix seed 1" and row["epoch"] == 2:
                raise KeyboardInterrupt
            yield row

    with monkeypatch.context() as patch:
        patch.setattr(Training, "epochs", stop_in_third_run)
        with pytest.raises(KeyboardInterrupt):
            do(runs, tmp_path / "stopped")
    assert len(stored(tmp_path / "stopped")) == 2
    do(runs, tmp_path / "stopped")
    assert stored(tmp_path / "stopped") == stored(tmp_path / "unbroken")


def test_a_terminal_shows_task_method_seed_epoch_and_time_left(runs, tmp_path):
    terminal = Console(file=io.StringIO(), width=150, force_terminal=True, color_system=None)
    sweep.sweep(runs, Path("no-such-folder"), tmp_path, terminal)
    lines = terminal.file.getvalue().splitlines()
    assert "4/4 runs" in [line for line in lines if "runs" in line][-1]
    of_last_run = [line for line in lines if "toy classical seed 1 " in line][-1]
    for part in ("3/3", "epochs", "0:00:00 left"):
        assert part in of_last_run


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_stop_while_writing_leaves_the_old_file_whole(tmp_path, monkeypatch, error):
    path = tmp_path / "task" / "method" / "seed-0.json"
    storage.write(path, {"version": "old"})

    def write_half(record, file, **_options):
        file.write('{"version": "ne')
        raise error

    monkeypatch.setattr(json, "dump", write_half)
    with pytest.raises(error):
        storage.write(path, {"version": "new"})
    assert [found.name for found in path.parent.iterdir()] == ["seed-0.json"]
    assert json.loads(path.read_text()) == {"version": "old"}


def test_what_a_killed_process_left_is_no_run_and_is_written_over(runs, tmp_path):
    path = storage.path_of(tmp_path, runs[0])
    path.parent.mkdir(parents=True)
    (path.parent / "seed-0.json.part").write_text('{"task": "to')
    assert not storage.is_done(tmp_path, runs[0])
    assert list(storage.read_all(tmp_path)) == []
    do(runs[:1], tmp_path)
    assert [found.name for found in path.parent.iterdir()] == ["seed-0.json"]


def test_other_settings_are_neither_reused_nor_overwritten(toy, runs, tmp_path, trained):
    do(runs[:1], tmp_path)
    before = stored(tmp_path)
    trained.clear()
    with pytest.raises(UserError) as caught:
        do(plan(["toy"], ["classical", "learn2mix"], 2, {"lr": 0.5}), tmp_path)
    for part in ("seed-0.json", "lr: stored 0.01, asked 0.5", "--out"):
        assert part in str(caught.value)
    assert trained == []  # not even the runs that could have been done
    assert stored(tmp_path) == before


def test_a_change_that_a_method_does_not_see_leaves_its_runs_valid(toy, tmp_path, trained):
    do(plan(["toy"], ["classical"], 1, {}), tmp_path)
    do(plan(["toy"], ["classical", "learn2mix"], 1, {"mixing_rate": 0.5}), tmp_path)
    assert trained == ["toy classical seed 0", "toy learn2mix seed 0"]


@pytest.mark.parametrize("text", ['{"task": "to', "[]", "{}", '{"task": "toy", "history": []}'])
def test_a_file_that_is_no_run_is_named(runs, tmp_path, text):
    path = storage.path_of(tmp_path, runs[0])
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=r"seed-0\.json is not a stored run"):
        do(runs, tmp_path)


def test_missing_data_stop_the_sweep_before_it_trains(toy, tmp_path, trained):
    with pytest.raises(UserError, match="wine"):
        do(plan(["toy", "wine-quality"], ["classical"], 1, {}), tmp_path)
    assert trained == []
