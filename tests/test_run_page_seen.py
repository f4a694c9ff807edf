"""The page of a run as a browser shows it: on a desk and on a telephone, under the mouse, a finger and the keys."""

import re
import subprocess
import sys

import pytest

from browser import WIDTHS, assert_fits
from histories import CASES, made_up, moving
from learn2mix import report

NEWCOMER = """
import torch
from torch.utils.data import TensorDataset
from learn2mix import Learn2Mix, MixedBatchSampler, MixedLoader, report

labels = torch.tensor([0] * 90 + [1] * 30 + [2] * 10)
inputs = torch.randn(130, 4) + labels[:, None]
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
sampler = MixedBatchSampler(labels, Learn2Mix(0.1), batch_size=10)
loader = MixedLoader(TensorDataset(inputs, labels), sampler)
for epoch in range(3):
    for x, y in loader:
        losses = torch.nn.functional.cross_entropy(model(x), y, reduction="none")
        optimizer.zero_grad()
        losses.mean().backward()
        optimizer.step()
        loader.observe(losses)
print(report(loader.history, "run.html"))
"""
NOT_OF_THE_CORE = {"IPython", "jinja2", "lightning", "matplotlib", "pandas", "pytorch_lightning", "torchvision"}


def test_a_newcomers_run_has_a_page_in_a_browser(browser, tmp_path):
    code = f"{NEWCOMER}\nimport sys\nprint(*sys.modules, file=sys.stderr)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    page = tmp_path / "run.html"
    assert ran.stdout == page.read_text(encoding="utf8") + "\n"
    assert not NOT_OF_THE_CORE & set(ran.stderr.split())
    for width in WIDTHS:
        assert_fits(browser, page, width)
        assert browser.complaints == []
    shown = browser.ask("document.body.innerText")
    assert "3 groups · batches of 10 · 39 batches" in shown
    assert re.search(r"group \d rose from 0\.\d+ to 0\.\d+, group \d fell", shown)
    assert "The loss of each group" in shown


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_is_wider_than_the_window(browser, tmp_path, case, width):
    page = tmp_path / "run.html"
    report(case(), page)
    assert_fits(browser, page, width)
    assert browser.complaints == []
    assert browser.requests == [page.as_uri()]


LABELS = """
[...document.querySelectorAll(".chart.ended")].map(chart => [...chart.querySelectorAll(".ends li")].map(label => {
  const box = label.getBoundingClientRect(); return [box.top, box.bottom];
}))
"""


@pytest.mark.parametrize("width", WIDTHS)
def test_labels_at_the_ends_do_not_overlap(browser, tmp_path, width):
    page = tmp_path / "run.html"
    report(made_up(100, 60), page)
    browser.open(page, width)
    charts = browser.ask(LABELS)
    assert [len(labels) for labels in charts] == [8, 8]
    for labels in charts:
        for (_, bottom), (top, _) in zip(sorted(labels)[:-1], sorted(labels)[1:], strict=True):
            assert top >= bottom - 0.5


PLOT = "(box => [box.x, box.y, box.width])(document.querySelector('[data-chart=mix]').getBoundingClientRect())"
SHOWN = "[...document.querySelectorAll('.ended .ends output')].slice(0, 2).map(output => output.textContent)"


def test_values_under_the_mouse_a_finger_and_the_keys(browser, tmp_path):
    page = tmp_path / "run.html"
    report(moving([0.25, 0.75], [0.5, 0.5], [0.875, 0.125], names=["web", "books"]), page)
    browser.open(page, 1280)
    left, top, plot_width = browser.ask(PLOT)
    assert browser.ask(SHOWN) == ["0.88", "0.12"]
    for batch, shown in ((3, ["0.25", "0.75"]), (9.9, ["0.25", "0.75"]), (10.2, ["0.50", "0.50"])):
        browser.point(left + plot_width * batch / 21, top + 50)
        assert browser.ask(SHOWN) == shown
    assert browser.ask("document.querySelector('.place').textContent") == "batches 10 to 20"
    browser.point(5, 5)
    assert browser.ask(SHOWN) == ["0.88", "0.12"]
    browser.tap(left + plot_width * 3 / 21, top + 50)
    assert browser.ask(SHOWN) == ["0.25", "0.75"]
    browser.ask("document.querySelector('[data-chart=mix]').focus()")
    browser.press("ArrowRight")
    assert browser.ask(SHOWN) == ["0.50", "0.50"]
    assert "web 0.50, books 0.50" in browser.ask("document.activeElement.getAttribute('aria-valuetext')")
    browser.press("Escape")
    assert browser.ask(SHOWN) == ["0.88", "0.12"]


def test_a_dark_page_for_who_likes_it_dark(browser, tmp_path):
    page = tmp_path / "run.html"
    report(made_up(), page)
    for dark in (False, True):
        browser.open(page, 390, dark=dark)
        paper, ink = browser.ask("(s => [s.backgroundColor, s.color])(getComputedStyle(document.body))")
        paper, ink = (sum(int(part) for part in re.findall(r"\d+", colour)) for colour in (paper, ink))
        assert (paper < ink) == dark
        assert abs(paper - ink) > 500
