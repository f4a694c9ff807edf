"""README: its examples run as they stand, its commands, links and anchors exist, and it fits a screen."""

import re
from pathlib import Path

import pytest

import readme

ROOT = Path(__file__).parent.parent


def test_there_is_an_example_of_each_kind():
    kinds = ["plain", "lightning", "stream"]
    marks = {"plain": "optimizer.step()", "lightning": "LightningModule", "stream": "MixedStream"}
    assert list(readme.EXAMPLES) == kinds
    assert [[name for name, mark in marks.items() if mark in code] for code in readme.EXAMPLES.values()] == [
        [kind] for kind in kinds
    ]


def test_the_first_screen_is_the_library():
    """A sentence, the equation, an example, a picture and a table, before the first heading."""
    first = readme.TEXT.split("\n## ")[0]
    places = [first.index(mark) for mark in ("decides", "$$", "```python", "](docs/pictures/", "|---|")]
    assert places == sorted(places)
    assert "python -m experiments run" in first
    assert len(readme.EXAMPLES["plain"].splitlines()) <= 25


def test_the_equation_is_alone_in_its_kind():
    assert readme.TEXT.count("$$") == 2  # a package index shows its text instead


def test_no_table_is_wide():
    rows = [line for line in readme.TEXT.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    assert max(line.count("|") - 1 for line in rows) <= 6


def test_make_has_the_targets_that_are_named():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf8"), flags=re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", readme.TEXT, flags=re.MULTILINE)) <= targets


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", ["README.md", "docs/questions.md", "CHANGELOG.md"])
def test_links_and_anchors_lead_somewhere(page):
    path = ROOT / page
    links = re.findall(r"\]\((?!\w+:)([^)]+)\)", path.read_text(encoding="utf8"))
    assert links or page == "CHANGELOG.md"
    for link in links:
        target, _, place = link.partition("#")
        there = path if not target else path.parent / target
        assert there.exists(), link
        if place:
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf8"), flags=re.MULTILINE)
            assert place in map(anchor, headings), link
