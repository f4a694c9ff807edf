"""The results in the repository: what experiments/README.md says of them is what the runs say."""

from pathlib import Path

import numpy as np
import pytest

import experiments.report
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
