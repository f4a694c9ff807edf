"""Validation results under several real processes: one mix for all of them, from all held-out samples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

SCRIPT = Path(__file__).parent / "ddp_validation_script.py"


def start(folder, devices, mixer):
    """Run the script; what each rank did."""
    environment = {key: value for key, value in os.environ.items() if key not in ("LOCAL_RANK", "WORLD_SIZE", "RANK")}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(devices), mixer],
        capture_output=True,
        text=True,
        timeout=180,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"{mixer}-{devices}-{rank}.json").read_text()) for rank in range(devices)]


def test_two_processes_hold_the_mix_of_one(tmp_path):
    """The losses of the groups are pooled over all held-out samples."""
    (alone,) = start(tmp_path, 1, "losses")
    assert len({tuple(mix) for mix in alone["mixes"]}) == 6  # it moved after each validation run
    for rank in start(tmp_path, 2, "losses"):
        np.testing.assert_allclose(rank["mixes"], alone["mixes"], rtol=0, atol=1e-9)
        np.testing.assert_allclose(rank["weights"], alone["weights"], rtol=0, atol=1e-9)


def test_a_loss_that_differs_between_processes_does_not_part_them(tmp_path):
    one, other = start(tmp_path, 2, "plateau")
    assert len({tuple(mix) for mix in one["mixes"]}) > 1  # there was a plateau
    assert other["mixes"] == one["mixes"]
