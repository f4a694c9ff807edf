"""What folders of runs say: tables on the screen, and a page, tables and pictures beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.report.collect import collect
from experiments.report.drawing import to_svg
from experiments.report.overview import problem_table
from experiments.report.page import to_markdown, to_page, to_screen
from experiments.report.pictures import draw_section
from experiments.report.tables import error_table


def report(folders: Sequence[Path], console: Console, out: Path | None = None) -> None:
    """Print the tables of all runs below some folders, however many there are yet, and write what they say in full.

    Args:
        folders: where runs are stored, however deep.
        console: where to print.
        out: a file for the page, if its name ends in ``.html``; else a folder for ``report.html``, ``tables.md`` with
            the same tables for a README, and the pictures. None is the first folder.

    Raises:
        UserError: if there are no runs, or a file is no run.
    """
    sections, notes = collect(folders)
    out = folders[0] if out is None else out
    page = out if out.suffix == ".html" else out / "report.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    drawn = {one.slug: [(picture, to_svg(picture.figure)) for picture in draw_section(one)] for one in sections}
    page.write_text(to_page(sections, notes, drawn), encoding="utf-8")
    if page != out:
        (out / "tables.md").write_text(to_markdown(sections, notes, drawn), encoding="utf-8")
        for slug, pictures in drawn.items():
            for picture, svg in pictures:
                (out / f"{slug}-{picture.name}.svg").write_text(svg, encoding="utf-8")
    for section in sections:
        table = error_table(section)
        console.print(to_screen(f"{section.title}: {table.title}", table))
    console.print(error_table(sections[0]).note, highlight=False)
    problems = problem_table(sections)
    if problems is not None:
        console.print(to_screen(problems.title, problems))
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"page: {page}", highlight=False, soft_wrap=True)
