"""The helper that looks at pages sees what is too wide, and only that."""

import pytest

from browser import WIDTHS, assert_fits

HEAD = '<!doctype html><meta name="viewport" content="width=device-width"><style>body { margin: 0 }</style>'
FITS = {
    "text": "<p>all is well</p>",
    "a table that scrolls by itself": '<div style="overflow-x: auto"><div style="width: 3000px">x</div></div>',
    "an ellipsis with a title": '<p title="the whole text" style="width: 99px; overflow: hidden; white-space: nowrap; '
    'text-overflow: ellipsis">' + "long " * 99 + "</p>",
    "what nobody sees": '<div style="display: none; width: 3000px">x</div>',
    "a line clipped by its picture": '<svg width="200" height="20"><path d="M0 5H3000" stroke="red" /></svg>',
}
TOO_WIDE = {
    "a wide element": '<div style="width: 3000px">x</div>',
    "an element beside the window": '<div style="position: absolute; left: -50px; width: 90px">x</div>',
    "a wide element in a box that cuts it": '<div style="overflow: hidden"><div style="width: 3000px">x</div></div>',
    "cut text": '<p style="width: 99px; overflow: hidden; white-space: nowrap">' + "long " * 99 + "</p>",
    "text outside of its picture": '<svg width="200" height="20"><text x="190" y="15">a long label</text></svg>',
    "a box that scrolls, wider than the window": '<div style="overflow-x: auto; width: 3000px">x</div>',
}


@pytest.mark.parametrize("width", WIDTHS)
def test_what_fits_is_let_through(browser, tmp_path, width):
    page = tmp_path / "page.html"
    page.write_text(HEAD + "".join(FITS.values()))
    assert_fits(browser, page, width)


@pytest.mark.parametrize("body", TOO_WIDE.values(), ids=TOO_WIDE)
def test_what_is_too_wide_is_named(browser, tmp_path, body):
    page = tmp_path / "page.html"
    page.write_text(HEAD + body)
    with pytest.raises(AssertionError, match=r"<(div|p|text) class="):
        assert_fits(browser, page, 390)


def test_dark_pages_are_asked_for(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(HEAD + "<style>@media (prefers-color-scheme: dark) { body { color: red } }</style>x")
    for dark, colour in ((False, "rgb(0, 0, 0)"), (True, "rgb(255, 0, 0)")):
        browser.open(page, 390, dark=dark)
        assert browser.ask("getComputedStyle(document.body).color") == colour
