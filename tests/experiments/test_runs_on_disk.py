"""Runs survive: whole files only, nothing done twice, nothing reused that was made otherwise."""

import errno
import io
import json
import os
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partialmethod
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from tqdm import tqdm

from experiments import execution, results
from experiments.cli import main
from experiments.errors import UserError
from experiments.execution import Failure, RunOptions
from experiments.plan import plan
from experiments.report import report
from experiments.results import pack
from experiments.run import Run
from experiments.sweep import sweep
from experiments.training import Training


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def do(runs: list[Run], out: Path) -> list[Failure]:
    return sweep(runs, RunOptions(Path("no-such-folder")), out)


def stored(out: Path) -> dict[str, dict]:
    """All files below a folder, without what differs from one training to the next."""
    records = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            record = json.loads(path.read_text())
            del record["preparation_seconds"]
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
        def __init__(self, run, *data):
            names.append(str(run))
            super().__init__(run, *data)

    monkeypatch.setattr(execution, "Training", Counting)
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
    assert record["objective"] == {"kind": "regression", "error_name": "test MSE", "scale": 1.0}
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

    def stop_in_third_run(self, *options):
        for row in real_epochs(self, *options):
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("budget", "progress"), [(None, "2/3 epochs"), (50.0, "0/50 s")])
def test_a_terminal_shows_task_method_seed_progress_and_time_left_of_all_and_of_each_job(
    toy, tmp_path, monkeypatch, budget, progress
):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setattr("tqdm.tqdm.__init__", partialmethod(tqdm.__init__, mininterval=0))
    do(plan(["toy"], ["learn2mix", "classical"], 1, {}, time_budget=budget), tmp_path)
    shown = re.split(r"[\r\n]", terminal.getvalue())
    for parts in (("all", "1/2 runs", "left"), ("toy classical seed 0", progress, "left")):
        assert any(all(part in line for part in parts) for line in shown), shown


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_stop_while_writing_leaves_the_old_file_whole(tmp_path, monkeypatch, error):
    path = tmp_path / "task" / "method" / "seed-0.json"
    results.write(path, {"version": "old"})

    def stop(_file):
        raise error

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(error):
        results.write(path, {"version": "new"})
    assert [found.name for found in path.parent.iterdir()] == ["seed-0.json"]
    assert json.loads(path.read_text()) == {"version": "old"}


def test_what_a_killed_process_left_is_no_run(runs, tmp_path):
    path = results.path_of(tmp_path, runs[0])
    path.parent.mkdir(parents=True)
    (path.parent / "seed-0.json.0123.part").write_text('{"task": "to')
    assert results.find(tmp_path, runs[0]) is None
    assert results.read(tmp_path) == []
    do(runs[:1], tmp_path)
    assert [(one["method"], one["seed"]) for one in results.read(tmp_path)] == [("learn2mix", 0)]


def test_many_writers_of_one_run_leave_it_whole_at_all_times(tmp_path):
    path = tmp_path / "task" / "method" / "seed-0.json"
    records = [{"writer": writer, "history": [writer] * 10_000} for writer in range(6)]
    results.write(path, records[0])
    with ThreadPoolExecutor(len(records)) as pool:
        writers = [
            pool.submit(lambda record=record: [results.write(path, record) for _ in range(5)]) for record in records
        ]
        while not all(writer.done() for writer in writers):
            assert json.loads(path.read_text()) in records
    for writer in writers:
        writer.result()
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
    path = results.path_of(tmp_path, runs[0])
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UserError, match=r"seed-0\.json is not a stored run"):
        do(runs, tmp_path)


def test_missing_data_stop_the_sweep_before_it_trains(toy, tmp_path, trained):
    with pytest.raises(UserError, match="wine"):
        do(plan(["toy", "wine-quality"], ["classical"], 1, {}), tmp_path)
    assert trained == []


def fail_in(monkeypatch, name: str, error: Exception) -> None:
    """Let the second epoch of one run raise."""
    real_epochs = Training.epochs

    def epochs(self, *options):
        for row in real_epochs(self, *options):
            if str(self._run) == name and row["epoch"] == 2:
                raise error
            yield row

    monkeypatch.setattr(Training, "epochs", epochs)


@pytest.mark.parametrize(
    "error", [RuntimeError("no more of this"), UserError("try less"), MemoryError(), KeyError("x")]
)
def test_a_failing_run_stops_no_other_and_is_tried_again(runs, tmp_path, monkeypatch, error):
    do(runs, tmp_path / "unbroken")
    out = tmp_path / "broken"
    with monkeypatch.context() as patch:
        fail_in(patch, "toy learn2mix seed 0", error)
        failures = do(runs, out)
    assert [str(failure.run) for failure in failures] == ["toy learn2mix seed 0"]
    assert str(error) in failures[0].error
    folder = out / "toy" / "learn2mix"
    assert {path.name for path in folder.iterdir()} == {"failed-seed-0.json", "seed-1.json"}
    (failure,) = results.read_failures(out)
    assert (failure["task"], failure["method"], failure["seed"]) == ("toy", "learn2mix", 0)
    assert failure["error"] == failures[0].error
    assert "Traceback" in failure["details"]
    assert do(runs, out) == []
    assert stored(out) == stored(tmp_path / "unbroken")


def test_a_number_that_is_not_finite_is_the_runs_failure(runs, tmp_path, monkeypatch):
    real_epochs = Training.epochs
    monkeypatch.setattr(
        Training, "epochs", lambda self, *options: ({**row, "test_loss": float("inf")} for row in real_epochs(self))
    )
    failures = do(runs, tmp_path)
    assert len(failures) == len(runs)
    assert "JSON" in failures[0].error


def test_a_budget_of_time_is_part_of_what_is_compared(toy, tmp_path):
    do(plan(["toy"], ["classical"], 1, {}, time_budget=60.0), tmp_path)
    record = json.loads((tmp_path / "toy" / "classical" / "seed-0.json").read_text())
    assert record["config"]["time_budget"] == 60.0
    with pytest.raises(UserError, match=r"time_budget: stored 60\.0, asked None"):
        do(plan(["toy"], ["classical"], 1, {}), tmp_path)


def test_a_budget_of_time_ends_a_run_early(toy, tmp_path):
    do(plan(["toy"], ["classical"], 1, {"epochs": 1000}, time_budget=1e-6), tmp_path)
    assert len(stored(tmp_path)["toy/classical/seed-0.json"]["history"]) == 1


def packed(runs: list[Run], tmp_path: Path) -> Path:
    do(runs, tmp_path / "runs")
    assert main(["pack", str(tmp_path / "runs"), str(tmp_path / "packed")]) == 0
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {"runs.csv.xz", "runs.json"}
    return tmp_path / "packed"


def assert_alike(one: object, other: object) -> None:
    """The same, numbers to six digits."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_alike(*pair)
    else:
        assert one == (pytest.approx(other, rel=5.1e-6) if isinstance(one, float) else other)


@pytest.mark.parametrize("missing", [False, True])
def test_packed_runs_are_the_runs_to_six_digits(tmp_path, runs, missing):
    do(runs, tmp_path / "runs")
    if missing:  # a group that was not drawn in an epoch, and one without test samples
        path = results.path_of(tmp_path / "runs", runs[0])
        record = json.loads(path.read_text())
        for name in ("train_by_group", "group_losses", "test_by_group"):
            record["history"][1][name][1] = None
        path.write_text(json.dumps(record))
    folder = packed(runs, tmp_path)
    assert pack(folder, tmp_path / "again") == len(runs)
    for name in ("runs.csv.xz", "runs.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    whole = {(one["method"], one["seed"]): one for one in results.read(tmp_path / "runs")}
    table = {(one["method"], one["seed"]): one for one in results.read(folder)}
    assert whole.keys() == table.keys()
    for key, record in whole.items():
        assert_alike(record, table[key])
    report([folder], quiet())
    assert "toy" in (folder / "tables.md").read_text()


def test_classes_have_accuracies_in_a_table_too(tmp_path):
    runs = plan(["mnist-5k"], ["classical"], 1, {"epochs": 1})
    folder = packed(runs, tmp_path)
    assert_alike(results.read(tmp_path / "runs"), results.read(folder))
    assert "test_accuracy" in results.read(folder)[0]["history"][0]


def test_a_table_is_what_pandas_reads(tmp_path, runs):
    frame = pd.read_csv(packed(runs, tmp_path) / "runs.csv.xz")
    one = frame[(frame["method"] == "classical") & (frame["seed"] == 1) & (frame["epoch"] == 3)]
    record = json.loads(results.path_of(tmp_path / "runs", runs[3]).read_text())
    assert str(runs[3]) == "toy classical seed 1"
    assert one[one["group"].isna()]["test_error"].item() == pytest.approx(record["history"][2]["test_error"], rel=5e-6)
    by_group = one[one["group"].notna()]["test_error"].tolist()
    assert by_group == pytest.approx(record["history"][2]["test_by_group"], rel=5e-6)


def test_what_is_in_a_folders_table_is_not_run_again(tmp_path, toy, runs, trained):
    folder = packed(runs, tmp_path)
    trained.clear()
    do([*runs, *plan(["toy"], ["static"], 2, {})], folder)
    assert trained == ["toy static seed 0", "toy static seed 1"]
    do(plan(["toy"], ["learn2mix"], 1, {"mixing_rate": 0.5}), folder)
    assert trained[2:] == ["toy learn2mix seed 0"]


def test_tables_are_packed_together_with_what_was_left_out(tmp_path, toy, runs):
    do(runs[:2], tmp_path / "all" / "a")
    pack(tmp_path / "all" / "a", tmp_path / "all" / "b")
    shutil.rmtree(tmp_path / "all" / "a")
    (tmp_path / "all" / "c").mkdir()
    run = ["run", "toy", "--methods", "classical", "focal", "--seeds", "2", "--out", str(tmp_path / "all" / "c")]
    assert main([*run, "--set", "lr=0.5"]) == 0
    assert pack(tmp_path / "all", tmp_path / "packed") == 4
    seeds = [(one["method"], one["seed"], one["config"]["lr"]) for one in results.read(tmp_path / "packed")]
    assert sorted(seeds) == [
        ("classical", 0, 0.01), ("classical", 0, 0.5), ("classical", 1, 0.5), ("learn2mix", 0, 0.01),
    ]  # fmt: skip
    (note,) = results.read_unsuitable(tmp_path / "packed")
    assert note["method"] == "focal"


def test_packing_nothing_something_twice_and_a_cut_file_are_errors(tmp_path, runs):
    with pytest.raises(UserError, match="no runs below"):
        pack(tmp_path, tmp_path / "packed")
    for name in ("a", "b"):
        do(runs[:1], tmp_path / "runs" / name)
    with pytest.raises(UserError, match="toy learn2mix seed 0 is stored twice"):
        pack(tmp_path / "runs", tmp_path / "packed")
    pack(tmp_path / "runs" / "a", tmp_path / "packed")
    path = tmp_path / "packed" / "runs.csv.xz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="it was cut short"):
        results.read(tmp_path / "packed")
    pack(tmp_path / "runs" / "b", tmp_path / "packed")
    shutil.copy(tmp_path / "packed" / "runs.csv.xz", tmp_path / "old.csv.xz")
    do(runs[:2], tmp_path / "more")
    pack(tmp_path / "more", tmp_path / "packed")
    shutil.copy(tmp_path / "old.csv.xz", path)  # as if packing had been stopped between its two files
    with pytest.raises(UserError, match=r"not the table that runs\.json is of"):
        results.read(tmp_path / "packed")


def test_what_another_sweep_has_stored_meanwhile_is_not_trained_again(tmp_path, runs, trained, monkeypatch):
    """Both sweeps have found both runs missing; the other one does the second while this one does the first."""
    do(runs[1:2], tmp_path / "other")
    real_epochs = Training.epochs

    def epochs(self, *options):
        source, target = (results.path_of(tmp_path / name, runs[1]) for name in ("other", "out"))
        results.write(target, json.loads(source.read_text()))
        yield from real_epochs(self, *options)

    monkeypatch.setattr(Training, "epochs", epochs)
    trained.clear()
    assert do(runs[:2], tmp_path / "out") == []
    assert trained == ["toy learn2mix seed 0"]
    assert stored(tmp_path / "out").keys() == {f"toy/{method}/seed-0.json" for method in ("learn2mix", "classical")}


def test_what_another_sweep_is_at_comes_last(tmp_path, runs, trained):
    lock = results.lock_of(tmp_path, runs[0])
    assert results.claim(lock)
    assert not results.claim(results.lock_of(tmp_path, runs[0]))
    timer = threading.Timer(1, results.release, [lock])
    timer.start()
    do(runs[:2], tmp_path)
    timer.join()
    assert trained == ["toy classical seed 0", "toy learn2mix seed 0"]
    assert len(stored(tmp_path)) == 2


@pytest.mark.parametrize("moment", ["__init__", "close"])  # of a bar, just after a run is claimed or stored
def test_ctrl_c_between_two_runs_leaves_no_claim(tmp_path, runs, monkeypatch, moment):
    interrupted = []

    def interrupt(bar, *args, **options):
        getattr(tqdm, moment)(bar, *args, **options)
        if bar.total and not interrupted and list(tmp_path.rglob("*.lock")):
            interrupted.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr("experiments.sweep.tqdm", type("Bar", (tqdm,), {moment: interrupt}))
    with pytest.raises(KeyboardInterrupt):
        do(runs[:2], tmp_path)
    assert interrupted
    assert list(tmp_path.rglob("*.lock")) == []


def test_a_full_disk_fails_the_runs_that_it_takes_no_more(tmp_path, runs, monkeypatch):
    real_sync, synced = os.fsync, []

    def fill(file):
        synced.append(file)
        if len(synced) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill)
        failures = do(runs, tmp_path)
    assert [str(failure.run) for failure in failures] == ["toy learn2mix seed 1", "toy classical seed 1"]
    assert all("No space left" in failure.error for failure in failures)
    assert len(stored(tmp_path)) == 2
    assert do(runs, tmp_path) == []
    assert len(stored(tmp_path)) == 4
