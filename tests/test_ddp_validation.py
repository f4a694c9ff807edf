"""Validation results under several real processes: one mix for all of them, from all held-out samples."""

import json
import warnings

import numpy as np

import ddp_validation_script
import forks


def start(folder, devices, mixer):
    """Run the script; what each rank did."""

    def script(rank):
        warnings.simplefilter("ignore")
        ddp_validation_script.main(str(folder), str(devices), mixer)
        return json.loads((folder / f"{mixer}-{devices}-{rank}.json").read_text())

    return forks.results(script, devices, folder, lightning=True)


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
