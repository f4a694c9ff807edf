"""The page of a fixed small set of runs, as a browser shows it on a desk and on a telephone."""

import io
import re
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from browser import Browser, find_chromium
from conftest import TOY
from experiments.report import report
from experiments.tasks import TASKS
from made_up import record, write, write_failure, write_unsuitable

CHROMIUM = find_chromium()
WIDTHS = {"desk": 1280, "telephone": 390}

MEASURE = """
(async () => {
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
  const box = element => { const r = element.getBoundingClientRect(); return [r.left, r.right, r.width, r.height]; };
  return {
    pageWidth: document.scrollingElement.scrollWidth,
    images: [...document.images].map(i => ({alt: i.alt, natural: [i.naturalWidth, i.naturalHeight], box: box(i)})),
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
    "Failed, missing and left out",
]
SECTION_TABLES = ("Ratio to classical", "Worst and largest group", "Each group", "Time")


def draw_runs(rng: np.random.Generator, method: str, task: str, num_groups: int, **config: object) -> Iterator[dict]:
    """Three seeds of a task with some groups, whose mix moves where the method moves it."""
    moves = method == "learn2mix"
    for seed in range(3):
        errors = 1 + 5 / np.arange(1, 13) + rng.normal(0, 0.05, 12)
        run = record(method, seed, errors.tolist(), task=task, config=config)
        start = np.ones(num_groups) / num_groups
        end = rng.dirichlet(np.ones(num_groups)) if moves else start
        names = [f"a rather long name {group}" for group in range(num_groups)]
        run["groups"] = {
            "names": names, "train_counts": [100 - group for group in range(num_groups)],
            "initial_proportions": start.tolist(),
        }  # fmt: skip
        for step, row in enumerate(run["history"], start=1):
            row["proportions"] = (start + (end - start) * step / 12).tolist()
            row["test_by_group"] = (row["test_error"] * rng.uniform(0.5, 2, num_groups)).tolist()
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


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium here; Debian's package is called chromium")
    with Browser(CHROMIUM, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module", params=WIDTHS.values(), ids=WIDTHS)
def seen(request, browser, folder) -> dict:
    """What the browser measures on the page at one width."""
    browser.open(folder / "report.html", request.param)
    measured = browser.ask(MEASURE)
    return {**measured, "width": request.param, "complaints": browser.complaints, "requests": browser.requests}


def test_the_page_is_no_wider_than_the_screen(seen):
    assert seen["pageWidth"] <= seen["width"]


def test_nothing_is_complained_of_and_nothing_fetched(seen):
    assert seen["complaints"] == []
    assert {url.partition(":")[0] for url in seen["requests"]} <= {"file", "data"}
    assert len([url for url in seen["requests"] if url.startswith("file:")]) == 1


def test_every_picture_is_seen_in_full(seen, folder):
    assert len(seen["images"]) == len(list(folder.glob("*.png"))) == 6 + 5
    for image in seen["images"]:
        assert image["alt"]
        natural_width, natural_height = image["natural"]
        left, right, width, height = image["box"]
        assert natural_width > 500
        assert natural_height > 100
        assert 0 <= left < right <= seen["width"]
        assert width / height == pytest.approx(natural_width / natural_height, rel=0.02)


def test_every_table_is_seen_and_wide_ones_scroll_by_themselves(seen):
    titles = [table["title"] for table in seen["tables"]]
    for title in OVERVIEW:
        assert titles.count(title) == 1
    for title in ("test MSE", *SECTION_TABLES):
        assert titles.count(title) == 2, title
    for title in ("Mixing rates", "Beside the paper"):
        assert titles.count(title) == 1
    assert len(titles) == len(OVERVIEW) + 2 * 5 + 2
    for table in seen["tables"]:
        assert table["rows"]
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
        assert all(text.strip() for row in table["rows"] for text in row)
        left, right, _, height = table["box"]
        assert 0 <= left < right <= seen["width"]
        assert height > 20
    assert any(table["full"] > table["box"][2] for table in seen["tables"]), "no table is wide enough to test this"


def test_what_went_wrong_is_shown_as_it_is(seen):
    (problems,) = [table for table in seen["tables"] if table["title"] == "Failed, missing and left out"]
    told = {(row[1], row[2]): row[3] for row in problems["rows"]}
    assert told["focal", "all"] == "left out: there is no class here"
    assert told["smote", "seed 2"] == "missing"
    assert told["one-shot", "seed 1"].startswith("failed: OSError: <b>[Errno 5]</b> & a word")


def test_the_page_says_how_the_runs_were_made(seen):
    assert "python -m experiments run toy --methods learn2mix classical" in seen["text"]
    assert "an abacus, 2 CPUs" in seen["text"]


def test_a_faulty_page_would_be_noticed(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<meta name="viewport" content="width=device-width"><img src="data:image/png;base64,AAAA" alt="x">'
        '<div style="width: 900px">wide</div><script src="http://localhost:1/x.js"></script>'
        '<script>console.error("no")</script>'
    )
    browser.open(page, 390)
    measured = browser.ask(MEASURE)
    assert measured["pageWidth"] > 390
    assert measured["images"][0]["natural"] == [0, 0]
    assert browser.complaints
    assert any(url.startswith("http:") for url in browser.requests)


def test_the_markdown_has_the_same_tables(folder):
    text = (folder / "tables.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert headings[: len(OVERVIEW)] == OVERVIEW
    assert {"toy", "wine-quality"} <= set(headings)
    blocks = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    assert len(blocks) == len(OVERVIEW) + 2 * 5 + 2
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1, block
    for name in re.findall(r"\]\((.*\.png)\)", text):
        assert (folder / name).is_file()
