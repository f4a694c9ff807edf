"""Laws 3 and 4 under the Trainer with real processes: the batches of one process, and runs that a kill can't break."""

import json
import os
import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.distributed import run as elastic

import ddp_script
import forks
import lightning_modules as tools
from learn2mix import MixingCallback


def outcomes(folder, **options):
    """Run the script on forked processes, told of each other as torchrun does; how each ended."""
    options = ddp_script.DEFAULTS | {"folder": str(folder), **options}

    def script(rank):
        warnings.simplefilter("ignore")
        ddp_script.main(options)
        return json.loads((Path(folder) / f"{options['name']}-{rank}.json").read_text())

    return forks.outcomes(script, options["devices"], Path(folder), lightning=True)


def start(folder, **options):
    """Run the script; what each rank did: its steps and its weights."""
    ended = outcomes(folder, **options)
    assert [outcome.code for outcome in ended] == [0] * len(ended), [outcome.error for outcome in ended]
    return [outcome.result for outcome in ended]


def start_as_a_user(folder, launch, environment):
    """Run the script as a command that starts processes of its own, of a fresh environment; what each rank did."""
    command = [ddp_script.__file__, json.dumps({"folder": str(folder), "devices": 2})]
    python = str(environment.folder / "bin" / "python")

    def run(_):
        del os.environ["PYTHONPATH"]
        sys.executable = os.environ["PYTHON_EXEC"] = python  # what Lightning and torchrun start
        launch(command)

    forks.results(run, 1, Path(folder), timeout=180)
    return [json.loads((Path(folder) / f"run-{rank}.json").read_text()) for rank in range(2)]


def test_a_strategy_that_starts_processes_says_that_the_program_s_own_sampler_stays(tmp_path, monkeypatch):
    sampler = tools.make_sampler()
    trainer = tools.make_trainer(
        tmp_path, [MixingCallback(), ModelCheckpoint(tmp_path, "last")], strategy="ddp_fork", devices=1
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", "MixingCallback")
        monkeypatch.setattr(warnings, "showwarning", lambda said, *_: (tmp_path / "said").write_text(str(said)))
        trainer.fit(tools.net(), tools.make_loader(sampler))
    assert sampler.mixer.proportions.tolist() == pytest.approx(tools.PRIOR)
    assert "sampler.load_state_dict(torch.load(path)" in (tmp_path / "said").read_text()
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["MixingCallback"]
    sampler.load_state_dict(state)
    assert sampler.history.steps[-1] == 2 * tools.EPOCH


def assert_same(ranks, alone, first=0):
    """The ranks together drew the batches of one process, at its mixes, to its weights."""
    steps = [rank["steps"] for rank in ranks]
    assert len(steps[0]) == len(alone["steps"]) - first > 0
    for (indices, mix), *parts in zip(alone["steps"][first:], *steps, strict=True):
        assert sorted(index for part, _ in parts for index in part) == sorted(indices)
        for _, part_mix in parts:
            np.testing.assert_allclose(part_mix, mix, rtol=0, atol=1e-12)
    for rank in ranks:
        assert rank["weights"] == ranks[0]["weights"]
        np.testing.assert_allclose(rank["weights"], alone["weights"], rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Unbroken runs on one process, by how often the mix is updated."""
    folder = tmp_path_factory.mktemp("alone")
    runs = {every: start(folder, name=f"every-{every}", every=every)[0] for every in ("step", "epoch")}
    assert len({tuple(mix) for _, mix in runs["step"]["steps"]}) == 30
    return runs


@pytest.mark.parametrize(
    ("source", "trainer"),
    [("fit", {}), ("hook", {}), ("datamodule", {}), ("fit", {"use_distributed_sampler": False})],
    ids=["fit", "hook", "datamodule", "fit, sampler not distributed"],
)
def test_two_processes_train_on_the_batches_of_one(tmp_path, alone, source, trainer):
    assert_same(start(tmp_path, devices=2, source=source, trainer=trainer), alone["step"])


def test_lightning_starts_the_second_process_itself(tmp_path, alone, fresh):
    def python(command):
        sys.argv = command  # what Lightning starts again
        runpy.run_path(command[0], run_name="__main__")

    assert_same(start_as_a_user(tmp_path, python, fresh()), alone["step"])


def test_torchrun_starts_it_too(tmp_path, alone, fresh):
    torchrun = ["--standalone", "--nproc-per-node=2"]
    ranks = start_as_a_user(tmp_path, lambda command: elastic.main(torchrun + command), fresh())
    assert_same(ranks, alone["step"])


def test_losses_are_summed_once_an_epoch_where_that_is_asked_for(tmp_path, alone):
    assert_same(start(tmp_path, devices=2, every="epoch"), alone["epoch"])


def test_accumulated_gradients(tmp_path):
    trainer = {"accumulate_grad_batches": 2}
    (one,) = start(tmp_path, name="one", trainer=trainer)
    assert_same(start(tmp_path, name="two", devices=2, trainer=trainer), one)


@pytest.mark.parametrize(
    ("before", "after", "every", "kill_at"),
    [
        ({"devices": 2}, {"devices": 2}, "step", 14),  # in the middle of an epoch
        ({"devices": 2}, {"devices": 1}, "epoch", 17),  # on fewer processes, between two updates
        ({"devices": 1}, {"devices": 2}, "step", 21),
        ({"devices": 2, "num_workers": 1}, {"devices": 2, "num_workers": 1}, "step", 8),
    ],
    ids=["2 to 2", "2 to 1", "1 to 2", "2 to 2 with workers"],
)
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, alone, before, after, every, kill_at):
    workers = before.get("num_workers", 0)
    unbroken = start(tmp_path / "whole", num_workers=workers, every=every)[0] if workers else alone[every]
    killed, *others = outcomes(tmp_path, every=every, kill_at=kill_at, **before)
    assert killed.code == -9
    assert [other.code for other in others] == [1] * len(others), "the others stop with an error, and do not hang"
    ranks = start(tmp_path, every=every, resume=True, **after)
    assert_same(ranks, unbroken, first=kill_at - kill_at % 3)
