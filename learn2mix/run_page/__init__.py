"""One self-contained page of a run: what the mix asked for, what the batches had, and what came of it."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from os import PathLike
from pathlib import Path

from learn2mix.history import History
from learn2mix.run_page.charts import DARK, LIGHT, Charts
from learn2mix.run_page.facts import Facts
from learn2mix.run_page.sections import SECTIONS
from learn2mix.run_page.words import verdict

__all__ = ["RunPage", "report"]

NOTEBOOK_HEIGHT = 720  # pixels of the frame in a notebook; the page scrolls in it


def report(history: History, path: str | PathLike[str] | None = None, *, title: str = "The mix of a run") -> RunPage:
    """Make one self-contained HTML page of a run: no network, no other files, small for any number of groups.

    It shows what moved most, the path of the mix, requested against realised shares, the loss, passes and coverage of
    each group, the lag, and what changed when. Point at a chart, touch it or use the arrow keys to read its values.

    Args:
        history: of a sampler, a stream or a loader: ``sampler.history``.
        path: where to write the page, as UTF-8; None writes nothing.
        title: of the page.

    Returns:
        The page. As the last value of a notebook's cell it shows itself; ``save(path)`` writes it, ``str`` is its HTML.

    Raises:
        TypeError: if ``history`` is no history.
        OSError: if the file cannot be written.

    Example:
        >>> from learn2mix import Learn2Mix, MixedBatchSampler, report
        >>> sampler = MixedBatchSampler(["cat"] * 6 + ["dog"] * 2, Learn2Mix(0.5), batch_size=4)
        >>> for batch in sampler:
        ...     sampler.observe([1.0 if index < 6 else 3.0 for index in batch])
        >>> page = report(sampler.history, title="Cats and dogs")
        >>> "dog rose from 0.25 to 0.62, cat fell from 0.75 to 0.38." in str(page)
        True
    """
    if not isinstance(history, History):
        way_out = "pass its .history" if hasattr(history, "history") else "pass sampler.history"
        raise TypeError(f"history must be the history of a sampler or stream, got {type(history).__name__}; {way_out}")
    if not isinstance(title, str):
        raise TypeError(f"title must be a string, got {title!r}")
    page = RunPage(history, title)
    if path is not None:
        page.save(path)
    return page


class RunPage:
    """The page of a run; :func:`report` makes it."""

    def __init__(self, history: History, title: str) -> None:
        self._facts, self._title = Facts(history), title
        self._html = _page(self._facts, title)

    def __str__(self) -> str:
        """Return the HTML."""
        return self._html

    def __repr__(self) -> str:
        """Say what it is; not its thousand lines."""
        facts = self._facts
        return f"<run page {self._title!r}: {facts.num_groups:,} groups, {facts.num_batches:,} batches>"

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame, so that its style stays its own."""
        return (
            f'<iframe srcdoc="{escape(self._html)}" title="{escape(self._title)}" loading="lazy" '
            f'style="width: 100%; height: {NOTEBOOK_HEIGHT}px; border: 0"></iframe>'
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to a file, as UTF-8."""
        Path(path).write_text(self._html, encoding="utf8")


def _page(facts: Facts, title: str) -> str:
    here = files(__package__)
    style, script = ((here / name).read_text(encoding="utf8") for name in ("page.css", "page.js"))
    light, dark = (
        " ".join(f"--g{place}: {colour};" for place, colour in enumerate(scheme)) for scheme in (LIGHT, DARK)
    )
    colours = f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    first, *more = verdict(facts)
    whole = int(facts.edges[-1])
    charts = Charts(whole)
    body = "".join(section(facts, charts) for section in SECTIONS)
    values = json.dumps({"whole": whole, "charts": charts.values}, separators=(",", ":"))  # numbers alone: no markup
    size = f"{facts.num_groups:,} groups · batches of {facts.history.batch_size:,} · {facts.num_batches:,} batches"
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>\n{colours}{style}</style>\n</head>\n<body>\n<main>\n<header><h1>{escape(title)}</h1><p>{size}</p>"
        f'<p class="verdict">{escape(first)}</p><p>{escape(" ".join(more))}</p></header>\n{body}\n</main>\n'
        f'<script type="application/json" id="values">{values}</script>\n<script>\n{script}</script>\n'
        "</body>\n</html>\n"
    )
