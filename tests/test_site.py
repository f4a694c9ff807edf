"""The site builds strictly, fetches nothing, and no page is wider than a window."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from browser import WIDTHS, assert_fits

ROOT = Path(__file__).parent.parent
NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in NEEDED), reason='needs pip install "learn2mix[docs]"'
)

# A page of each kind: prose, wide tables, formulas, long code, two columns, objects of the library.
LOOKED_AT = [
    *("index", "tutorial", "rules", "performance", "remainders", "coming-from", "data-sets"),
    *("reference/loader", "reference/mixers", "experiments/index"),
]
ELSEWHERE = ".md-sidebar--primary, .md-search"  # the menu and the search of a narrow window wait outside of it


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stderr


def test_it_builds_without_a_warning(site):
    folder, said = site
    assert "WARNING" not in said
    assert "ERROR" not in said
    assert (folder / "index.html").exists()


def test_formulas_and_references_are_markup_not_source(site):
    folder, _ = site
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf8")
        assert ".. math::" not in text, page
        assert ":class:`" not in text, page
        assert 'class="arithmatex"' not in text, page
        assert not re.search(r'id="learn2mix[\w.]*\._', text), f"{page} has private names"
    assert "<math" in (folder / "index.html").read_text(encoding="utf8")
    assert "<math" in (folder / "reference" / "mixers.html").read_text(encoding="utf8")


def test_nothing_is_fetched_and_nothing_is_wider_than_the_window(site, browser):
    folder, _ = site
    for name in LOOKED_AT:
        for width in WIDTHS:
            assert_fits(browser, folder / f"{name}.html", width, ignore=ELSEWHERE)
            assert not browser.complaints, name
            assert [url for url in browser.requests if not url.startswith(("file:", "data:"))] == []
