"""The results in the repository: what experiments/README.md says of them is what the runs say."""

from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pytest

import experiments.report
from experiments.report.collect import collect
from experiments.report.page import markdown_table
from experiments.report.sweeps import sweep_table, sweeps
from experiments.report.tables import Table, overview, overview_table, section_tables

FOLDER = Path(experiments.report.__file__).parent.parent


@pytest.fixture(scope="module")
def sections():
    return collect([FOLDER / "results"])[0]


def rows_of(tables: list[Table]) -> list[str]:
    """The tables' lines in a README."""
    return [line for table in tables for line in markdown_table(table).splitlines() if line.startswith("|")]


def test_the_tables_of_the_page_are_those_of_the_runs(sections):
    page = (FOLDER / "README.md").read_text(encoding="utf-8").splitlines()
    tables = [table for table in overview(sections) if table.title != "Failed, missing and left out"]
    assert len(tables) == 6
    rows = rows_of(tables)
    assert len(rows) > 12
    assert set(rows) <= set(page)


@pytest.mark.parametrize(
    ("task", "num_epochs", "bar"), [("wine-quality", 300, 0.55), ("california-housing", 1200, 0.85)]
)
def test_the_regressions_in_full_have_the_paper_s_ratio_at_half_of_the_epochs(sections, task, num_epochs, bar):
    (section,) = (section for section in sections if section.task == task)
    half = {}
    for method in ("learn2mix", "classical"):
        errors = section.curve(method)
        assert errors.shape == (num_epochs, 5)
        half[method] = errors.loc[num_epochs // 2].mean()
    assert half["learn2mix"] / half["classical"] <= bar


def test_the_tables_of_the_ablations_are_those_of_the_runs():
    found = collect([FOLDER / "ablations"])[0]
    page = (FOLDER / "ablations" / "README.md").read_text(encoding="utf-8").splitlines()
    varied = [sweep for _, of_task in groupby(found, key=attrgetter("task")) for sweep in sweeps(list(of_task))]
    assert len(varied) == 10
    about = ("Worst and largest group", "Training against test")
    rows = rows_of([*map(sweep_table, varied), *(table for table in overview(found) if table.title in about)])
    assert len(rows) > 120
    assert set(rows) <= set(page)
    pictures = {f"]({sweep.section.task}-settings-{sweep.setting}.svg)" for sweep in varied}
    assert all(any(picture in line for line in page) for picture in pictures)


@pytest.fixture(scope="module")
def long_tails():
    return collect([FOLDER / "long-tails"])[0]


def test_the_tables_of_the_long_tails_are_those_of_the_runs(long_tails):
    page = (FOLDER / "long-tails" / "README.md").read_text(encoding="utf-8").splitlines()
    tables = [
        table for section in long_tails for table in section_tables(section) if table.title == "Balanced accuracy"
    ]
    rows = rows_of([overview_table("Long tails", long_tails), *tables])
    assert len(rows) > 40
    assert set(rows) <= set(page)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def long_tail_rows(long_tails):
    return rows_of([overview_table("Long tails", long_tails)])


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
    cells = overview_table("Long tails", long_tails).cells
    enough = cells[cells["seeds"].astype(int) >= 5]
    assert len(enough) == REQUIRED
    gains = enough.iloc[:, -2:].to_numpy().tolist()
    assert all(gain.startswith("+") for pair in gains for gain in pair)
    assert sum(all(gain.endswith("*") for gain in pair) for pair in gains) >= 4


def test_the_worst_class_gains_at_sixteen_epochs(long_tails):
    (section,) = (one for one in long_tails if one.task == "cifar10-long-tail" and one.config["epochs"] == 16)
    worst = 100 - section.measures["worst group"].groupby(level="label").mean()
    assert worst["learn2mix-passes"] >= 5 + max(worst["balanced"], worst["logit-adjusted-loss"])
