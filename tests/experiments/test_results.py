"""The results in the repository: what experiments/README.md says of them is what the runs say."""

from pathlib import Path

import numpy as np
import pytest

import experiments.report
from experiments.report.balanced import balanced_table, long_tail_table
from experiments.report.collect import collect
from experiments.report.overview import overview_table, ratio_matrix, rival_table
from experiments.report.render import to_markdown

FOLDER = Path(experiments.report.__file__).parent.parent


@pytest.fixture(scope="module")
def sections():
    return collect([FOLDER / "results"])[0]


def test_the_tables_of_the_page_are_those_of_the_runs(sections):
    page = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    tables = to_markdown(
        [
            overview_table(sections),
            ratio_matrix(sections),
            rival_table(sections, 1 / 2, "half-way"),
            rival_table(sections, 1.0, "at the end"),
        ],
        [],
        [],
    )
    rows = [line for line in tables.splitlines() if line.startswith("|")]
    assert len(rows) > 12
    assert set(rows) <= set(page)


@pytest.mark.parametrize(
    ("task", "num_epochs", "bar"), [("wine-quality", 300, 0.55), ("california-housing", 1200, 0.85)]
)
def test_the_regressions_in_full_have_the_paper_s_ratio_at_half_of_the_epochs(sections, task, num_epochs, bar):
    (section,) = (section for section in sections if section.task == task)
    errors = {}
    for method in ("learn2mix", "classical"):
        (results,) = (one for one in section.trained if one.label == method)
        errors[method] = np.array([curve.errors for curve in results.curves])
        assert errors[method].shape == (5, num_epochs)
    half = {method: of_seeds[:, num_epochs // 2 - 1].mean() for method, of_seeds in errors.items()}
    assert half["learn2mix"] / half["classical"] <= bar


@pytest.fixture(scope="module")
def long_tails():
    return collect([FOLDER / "long-tails"])[0]


def test_the_tables_of_the_long_tails_are_those_of_the_runs(long_tails):
    page = (FOLDER / "long-tails" / "README.md").read_text(encoding="utf-8").splitlines()
    tables = [long_tail_table(long_tails), *(balanced_table(section) for section in long_tails)]
    rows = [line for line in to_markdown([table for table in tables if table], [], []).splitlines() if "|" in line]
    assert len(rows) > 40
    assert set(rows) <= set(page)


@pytest.mark.parametrize("page", ["README.md", "docs/long-tails.md"])
def test_other_pages_show_the_same_table(long_tails, page):
    text = (FOLDER.parent / page).read_text(encoding="utf-8").splitlines()
    rows = [line for line in to_markdown([long_tail_table(long_tails)], [], []).splitlines() if line.startswith("|")]
    assert set(rows) <= set(text)


REQUIRED = 6  # cifar10-long-tail at three lengths and at 20:1, fashion-mnist-long-tail, fashion-pairs


def test_learn2mix_with_passes_is_above_both_baselines_and_beyond_the_intervals_in_most(long_tails):
    table = long_tail_table(long_tails)
    rows = [row for row in table.rows if int(row[1]) >= 5]
    assert len(rows) == REQUIRED
    gains = [row[-2:] for row in rows]
    assert all(gain.startswith("+") for pair in gains for gain in pair)
    assert sum(all(gain.endswith("*") for gain in pair) for pair in gains) >= 4


def test_the_worst_class_gains_at_sixteen_epochs(long_tails):
    (section,) = (one for one in long_tails if one.task == "cifar10-long-tail" and one.config["epochs"] == 16)
    worst = {one.label: 100 - one.worst_group.mean() for one in section.trained}
    assert worst["learn2mix-passes"] >= 5 + max(worst["balanced"], worst["logit-adjusted-loss"])
