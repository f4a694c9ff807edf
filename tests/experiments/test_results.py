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


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def long_tail_rows(long_tails):
    return [line for line in to_markdown([long_tail_table(long_tails)], [], []).splitlines() if line.startswith("|")]


def test_the_page_of_long_tails_shows_the_same_table(long_tails):
    text = (FOLDER.parent / "docs" / "long-tails.md").read_text(encoding="utf-8").splitlines()
    assert set(long_tail_rows(long_tails)) <= set(text)


FRIENDLY = {
    "CIFAR-10, 100:1, 5 epochs": "cifar10-long-tail (epochs=5, image_size=16, imbalance=long-tail:100)",
    "CIFAR-10, 100:1, 16 epochs": "cifar10-long-tail (epochs=16, image_size=16, imbalance=long-tail:100)",
    "CIFAR-10, 100:1, 48 epochs": "cifar10-long-tail (epochs=48, image_size=16, imbalance=long-tail:100)",
    "CIFAR-10, 20:1, 14 epochs": "cifar10-long-tail (epochs=14, image_size=16, imbalance=long-tail:20)",
    "Fashion-MNIST": "fashion-mnist-long-tail",
    "pairs of garments, 100 classes": "fashion-pairs",
    "IMDB, 20:1, 3 epochs": "imdb",
}
SHOWN = ("balanced", "logit-adjusted-loss", "learn2mix-passes")


def test_the_table_of_the_readme_is_a_part_of_it_under_names_of_its_own(long_tails):
    header, _, *rows = map(cells, long_tail_rows(long_tails))
    columns = [*SHOWN, *(f"learn2mix-passes over {rival}" for rival in SHOWN[:2])]
    runs = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    page = (FOLDER.parent / "README.md").read_text(encoding="utf-8").split("\n## ")[0]
    head, _, *shown = map(cells, [line for line in page.splitlines() if line.startswith("|")])
    assert head == ["task", "balanced mix", "logit-adjusted loss", "learn2mix", "over balanced", "over logit-adjusted"]
    assert shown == [[name, *(runs[task][column] for column in columns)] for name, task in FRIENDLY.items()]
    seeds = [int(runs[task]["seeds"]) for task in FRIENDLY.values()]
    assert f"mean of {min(seeds)} to {max(seeds)}" in page
    assert {task for task, row in runs.items() if int(row["seeds"]) >= 3} == set(FRIENDLY.values())  # none left out


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
