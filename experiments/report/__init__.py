"""What folders of runs say: tables on the screen, and a page, tables and pictures beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.report.collect import collect
from experiments.report.page import chapters_of, to_markdown, to_page, to_screen
from experiments.report.tables import PROBLEMS, error_table, overview_table


def report(folders: Sequence[Path], console: Console, out: Path | None = None) -> None:
    """Print the tables of all runs below some folders, and write what they say in full.

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
    chapters = chapters_of(sections)
    page.write_text(to_page(sections, chapters, notes), encoding="utf-8")
    if page != out:
        (out / "tables.md").write_text(to_markdown(sections, chapters, notes), encoding="utf-8")
        for chapter in chapters:
            for picture in chapter.pictures:
                (out / f"{chapter.slug}-{picture.name}.svg").write_text(picture.svg, encoding="utf-8")
    tables = {f"{section.title}: {section.error_name}": error_table(section) for section in sections}
    for title, table in tables.items():
        console.print(to_screen(title, table))
    console.print(next(iter(tables.values())).note, highlight=False)
    if (problems := overview_table(PROBLEMS, sections)) is not None:
        console.print(to_screen(problems.title, problems))
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"page: {page}", highlight=False, soft_wrap=True)
