"""Law 4 against kill -9 on one process: with workers running ahead, at epoch ends, in any call of fit."""

import json
import warnings

import numpy as np
import pytest

import ddp_script
import forks

EPOCH, TOTAL = 10, 30


def train(folder, *, name="run", **options):
    """Run the training script in a process of its own; how it ended, and what it did if it came to the end."""

    def script(rank):
        warnings.simplefilter("ignore")
        ddp_script.main(ddp_script.DEFAULTS | {"folder": str(folder), "name": name, **options})
        return json.loads((folder / f"{name}-{rank}.json").read_text())

    return forks.outcomes(script, 1, folder)[0]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What runs did that nothing killed, by their options; each is trained once."""
    runs = {}

    def train_once(**options):
        name = json.dumps(options)
        if name not in runs:
            whole = train(tmp_path_factory.mktemp("whole"), **options).result
            assert len(whole["steps"]) == TOTAL
            assert len({tuple(mix) for _, mix in whole["steps"]}) > 20
            runs[name] = whole
        return runs[name]

    return train_once


def assert_killed_and_goes_on(folder, unbroken, kill_at, *, save_every=3, **options):
    """A run that is killed and resumed trains on the batches of one that is not, to the same weights, bit for bit."""
    whole = unbroken(save_every=save_every, **options)
    killed = train(folder, save_every=save_every, kill_at=kill_at, **options)
    assert killed.code == -9
    fits = [epochs for epochs in options.pop("fits", [3]) if epochs > kill_at // EPOCH]
    resumed = train(folder, save_every=save_every, resume=True, fits=fits, **options)
    assert resumed.code == 0, resumed.error
    first = kill_at - kill_at % save_every
    assert resumed.result["steps"] == whole["steps"][first:]
    assert resumed.result["weights"] == whole["weights"]


# At random batches, the same on every run of the tests.
KILLED_AT = np.random.default_rng(5).integers(3, TOTAL, 4).tolist()


@pytest.mark.parametrize(
    ("kill_at", "persistent"), zip(KILLED_AT, [False, True, False, True], strict=True), ids="{}".format
)
def test_with_three_workers_running_ahead(tmp_path, unbroken, kill_at, persistent):
    assert_killed_and_goes_on(tmp_path, unbroken, kill_at, num_workers=3, persistent=persistent)


@pytest.mark.parametrize("num_workers", [0, 3])
@pytest.mark.parametrize("kill_at", [10, 19])
def test_where_checkpoints_fall_on_epoch_ends(tmp_path, unbroken, kill_at, num_workers):
    assert_killed_and_goes_on(tmp_path, unbroken, kill_at, save_every=5, num_workers=num_workers)


@pytest.mark.parametrize(("kill_at", "num_workers"), [(17, 0), (24, 3)])
def test_in_a_later_call_of_fit(tmp_path, unbroken, kill_at, num_workers):
    assert_killed_and_goes_on(tmp_path, unbroken, kill_at, fits=[1, 2, 3], num_workers=num_workers)


@pytest.mark.parametrize(("kill_at", "num_workers"), [(8, 0), (14, 3), (21, 3)])
def test_with_a_loader_that_has_a_state_of_its_own(tmp_path, unbroken, kill_at, num_workers):
    pytest.importorskip("torchdata.stateful_dataloader")
    assert_killed_and_goes_on(tmp_path, unbroken, kill_at, stateful=True, num_workers=num_workers)
