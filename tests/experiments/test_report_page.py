"""The page of a fixed small set of runs, as a browser shows it on a desk and on a telephone."""

import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from browser import WIDTHS, assert_fits
from conftest import TOY
from experiments.report import report
from experiments.tasks import TASKS
from made_up import record, write, write_failure, write_unsuitable

# All that can be opened is open.
OPEN = "document.querySelectorAll('details').forEach(one => one.open = true)"
MEASURE = """
(() => {
  const box = element => { const r = element.getBoundingClientRect(); return [r.left, r.right, r.width, r.height]; };
  return {
    pageWidth: document.scrollingElement.scrollWidth,
    pictures: [...document.querySelectorAll("figure svg")].map(box),
    contents: [...document.querySelectorAll(".first li")].map(one => one.innerText),
    tables: [...document.querySelectorAll("table")].map(t => ({
      rows: [...t.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText)),
      columns: [...t.tHead.rows[0].cells].map(cell => cell.innerText),
      title: t.parentElement.previousElementSibling.innerText, box: box(t.parentElement), full: t.scrollWidth,
    })),
    text: document.body.innerText,
  };
})()
"""

OVERVIEW = [
    "learn2mix against classical",
    "All methods against classical",
    "learn2mix against each, half-way",
    "learn2mix against each, at the end",
    "Worst and largest group",
    "Training against test",
    "Failed, missing and left out",
]
SECTION_TABLES = ("test MSE", "Ratio to classical", "Time", "How the runs were made")


def draw_runs(rng: np.random.Generator, method: str, task: str, num_groups: int, **config: object) -> Iterator[dict]:
    """Three seeds of a task with some groups, whose mix moves where the method moves it."""
    moves = method == "learn2mix"
    for seed in range(3):
        errors = 1 + 5 / np.arange(1, 13) + rng.normal(0, 0.05, 12)
        command = f"python -m experiments run {task} --methods all"
        run = record(method, seed, errors.tolist(), task=task, config=config, command=command)
        start = np.ones(num_groups) / num_groups
        end = rng.dirichlet(np.ones(num_groups)) if moves else start
        names = [f"a rather long name {group}" for group in range(num_groups)]
        run["groups"] = {
            "names": names, "train_counts": [100 - group for group in range(num_groups)],
            "test_counts": [10] * num_groups, "initial_proportions": start.tolist(),
        }  # fmt: skip
        for step, row in enumerate(run["history"], start=1):
            row["proportions"] = (start + (end - start) * step / 12).tolist()
            row["test_by_group"] = (row["test_error"] * rng.uniform(0.5, 2, num_groups)).tolist()
            row["train_by_group"] = [row["train_error"]] * num_groups
        yield run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two tasks: one with ten groups, several mixing rates and all that can go wrong; one of the paper's."""
    out = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    methods = ("learn2mix", "classical", "balanced", "importance", "curriculum", "static", "reweighted", "smote")
    for method in methods:
        write(out, *draw_runs(rng, method, "toy", num_groups=10))
        write(out, *draw_runs(rng, method, "wine-quality", num_groups=2))
    write(out / "rates", *draw_runs(rng, "learn2mix", "toy", num_groups=10, mixing_rate=0.5))
    (out / "toy" / "smote" / "seed-2.json").unlink()
    config = {"epochs": 12, "lr": 0.01}
    write_failure(out, "one-shot", 1, "OSError: <b>[Errno 5]</b> & a word that is far too long: " + "x" * 300, config)
    write_unsuitable(out, "focal", "there is no class here", config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, TOY.name, TOY)
        report([out], Console(file=io.StringIO()))
    return out


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_window_or_cut(browser, folder, width, dark):
    assert_fits(browser, folder / "report.html", width, dark=dark)


@pytest.fixture(scope="module", params=WIDTHS)
def seen(request, browser, folder) -> dict:
    """What the browser measures on the page at one width, with all that can be opened open."""
    browser.open(folder / "report.html", request.param)
    browser.ask(OPEN)
    measured = browser.ask(MEASURE)
    return {**measured, "width": request.param, "complaints": browser.complaints, "requests": browser.requests}


def test_the_page_is_no_wider_than_the_screen_with_all_tables_open(seen):
    assert seen["pageWidth"] <= seen["width"]


def test_nothing_is_complained_of_and_nothing_fetched(seen):
    assert seen["complaints"] == []
    assert {url.partition(":")[0] for url in seen["requests"]} <= {"file", "data"}
    assert len([url for url in seen["requests"] if url.startswith("file:")]) == 1


def test_every_picture_is_seen_in_full(seen, folder):
    assert len(seen["pictures"]) == len(list(folder.glob("*.svg"))) == 1 + 6 + 5
    for left, right, width, height in seen["pictures"]:
        assert width > 330
        assert height > 100
        assert 0 <= left < right <= seen["width"]


def test_the_verdict_comes_first(seen):
    assert seen["text"].index("learn2mix ends with a lower error than classical on") < 60
    assert [re.split("[:\n]", entry)[0] for entry in seen["contents"]] == ["wine-quality", "toy", "toy"]
    for entry in seen["contents"][:2]:
        assert re.search(r"Ratio of errors \d\.\d+ \[.+; epochs to catch up, of 12: .+", entry), entry


def test_every_table_is_there_and_can_be_seen(seen):
    titles = [table["title"] for table in seen["tables"]]
    assert set(OVERVIEW) <= set(titles)
    for title in SECTION_TABLES:
        assert titles.count(title) == 2, title
    assert titles.count("toy: error by mixing_rate") == 1
    assert len(titles) == len(OVERVIEW) + 2 * len(SECTION_TABLES) + 1
    for table in seen["tables"]:
        assert table["rows"]
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
        assert all(text.strip() for row in table["rows"] for text in row)
        left, right, _, height = table["box"]
        assert 0 <= left < right <= seen["width"]
        assert height > 20
    if seen["width"] < 500:
        assert any(table["full"] > table["box"][2] for table in seen["tables"]), "no table is wide enough to test this"


def test_the_names_of_the_rows_stay_where_a_wide_table_is_scrolled(browser, folder):
    browser.open(folder / "report.html", 390)
    browser.ask(OPEN)
    places = """[...document.querySelectorAll(".scroll")].filter(one => one.scrollWidth > one.clientWidth).map(one => {
      const name = one.querySelector("tbody th"), before = name.getBoundingClientRect().left;
      one.scrollLeft = 60;
      return [one.scrollLeft, name.getBoundingClientRect().left - before];
    })"""
    moved = browser.ask(places)
    assert moved
    assert all(by > 0 and name == 0 for by, name in moved)


def test_it_is_read_without_scripts_and_is_small(folder):
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert len(page) < 2_000_000


def test_what_went_wrong_is_shown_as_it_is(seen):
    (problems,) = [table for table in seen["tables"] if table["title"] == "Failed, missing and left out"]
    told = {(row[1], row[2]): row[3] for row in problems["rows"]}
    assert told["focal", "all"] == "left out: there is no class here"
    assert told["smote", "2"] == "missing"
    assert told["one-shot", "1"].startswith("failed: OSError: <b>[Errno 5]</b> & a word")


def test_the_page_says_how_the_runs_were_made(seen):
    assert "python -m experiments run toy --methods all" in seen["text"]
    assert '"processor": "an abacus", "cpus": 2' in seen["text"]


def test_the_markdown_has_the_same_tables(folder):
    text = (folder / "tables.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert headings[: 1 + len(OVERVIEW)] == ["All tasks", *OVERVIEW]
    assert {"toy", "wine-quality"} <= set(headings)
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    assert len(blocks) == len(OVERVIEW) + 2 * len(SECTION_TABLES) + 1
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
    for name in re.findall(r"\]\((.*\.svg)\)", text):
        assert (folder / name).is_file()
