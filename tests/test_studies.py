"""The studies in docs/studies run, and a few seeds of each already show what their tables say."""

import importlib
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from learn2mix import FixedMix, Learn2Mix

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(DOCS / "studies")
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the studies themselves do
    yield importlib.import_module
    torch.set_num_threads(num_threads)


class TestDrift:
    """A group's target changes half-way."""

    @pytest.fixture(scope="class")
    def run(self):
        """One run for each mixing rate (0: a fixed mix) and seed, for all tests that read it."""
        return cache(lambda drift, rate, seed: drift.run(Learn2Mix(rate) if rate else FixedMix(), seed))

    @pytest.mark.parametrize(("mixing_rate", "num_steps"), [(0.1, 4), (0.05, 7)])
    def test_the_mix_follows_within_the_stated_steps(self, study, run, mixing_rate, num_steps):
        drift = study("drift")
        for seed in range(3):
            _, path = run(drift, mixing_rate, seed)
            assert path[drift.CHANGE - 1, drift.CHANGED] < 0.1
            assert path[drift.CHANGE + num_steps - 1, drift.CHANGED] >= 0.25
            assert path[drift.END - 1, drift.CHANGED] < 0.1  # and lets go when the group is learned

    def test_the_worst_group_ends_better_than_under_a_fixed_mix(self, study, run):
        drift = study("drift")
        for seed in range(3):
            fixed, adaptive = (run(drift, rate, seed)[0].max(1) for rate in (0, 0.1))
            assert fixed[drift.CHANGE] == pytest.approx(adaptive[drift.CHANGE], rel=0.2)  # hit as hard
            assert adaptive[drift.CHANGE + 24] < 0.01 * fixed[drift.CHANGE + 24]
            assert adaptive[-1] < 0.1 * fixed[-1]

    def test_the_fixed_mix_stays(self, study, run):
        drift = study("drift")
        _, path = run(drift, 0, seed=0)
        assert (path == 1 / 20).all()
        assert drift.steps_to_quarter(path) == np.inf


def test_held_out_results_are_the_better_guide_on_rare_classes(study):
    signals = study("signals")
    names = ["training losses, each epoch", "held-out losses", "held-out 1 - recall"]
    recalls = ([signals.run(name, seed, num_epochs=20)[0] for seed in range(2)] for name in names)
    train, losses, recall = map(np.mean, recalls)
    assert losses > train + 0.01, (train, losses)
    assert recall > train + 0.01, (train, recall)


def test_calibration_on_the_digits_runs(study):
    calibration, images = study("calibration"), study("images")
    before, after = calibration.run("Learn2Mix, each epoch", 0, *images.load_digits(), num_epochs=3)
    assert np.isfinite([before, after]).all()
    unchanged = calibration.run("the data's own mix", 0, *images.load_digits(), num_epochs=1)
    np.testing.assert_allclose(*unchanged, atol=0.01)  # nothing to correct


def test_the_pages_have_the_numbers_of_the_headers():
    for page, name in (("drift", "drift"), ("objective", "calibration"), ("validation", "signals")):
        text = (DOCS / f"{page}.md").read_text(encoding="utf8").replace("±", "+-").replace("→", "->")
        header = (DOCS / "studies" / f"{name}.py").read_text(encoding="utf8").split('"""')[1]
        rows = re.findall(r"^\|.*\|$", header, flags=re.MULTILINE)
        assert len(rows) > 4
        assert all(row in text for row in rows)


def test_a_mix_that_fades_repeats_as_its_table_says(study, capsys, monkeypatch):
    fading = study("fading")
    monkeypatch.setattr("sys.argv", ["fading.py"])
    fading.main()
    printed = capsys.readouterr().out.splitlines()
    assert set(printed) <= set(fading.__doc__.splitlines())
    assert len(printed) == 5


def test_the_first_picture_shows_the_runs_that_are_stored(study, capsys, monkeypatch, tmp_path):
    first_screen = study("first_screen")
    monkeypatch.setattr("sys.argv", ["first_screen.py", "--picture", str(tmp_path / "drawn.png")])
    first_screen.main()
    printed = capsys.readouterr().out.splitlines()
    assert set(printed) <= set(first_screen.__doc__.splitlines())
    assert len(printed) == 5
    assert (tmp_path / "drawn.png").stat().st_size < 100_000
