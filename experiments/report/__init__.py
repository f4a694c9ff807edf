"""What folders of runs say: tables on the screen, and a page, tables and pictures beside the runs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from experiments.report.collect import collect
from experiments.report.page import chapters_of, to_markdown, to_page
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
    page.write_text(to_page(chapters, notes), encoding="utf-8")
    if page != out:
        (out / "tables.md").write_text(to_markdown(chapters, notes), encoding="utf-8")
        for chapter in chapters:
            for picture in chapter.pictures:
                (out / f"{chapter.slug}-{picture.name}.svg").write_text(picture.svg, encoding="utf-8")
    show = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    for section in sections:
        show(f"\n{section.title}: {section.error_name}", style="bold")
        show(error_table(section).cells.reset_index().to_string(index=False))
    show(f"\n{error_table(sections[0]).note}")
    if problems := overview_table(PROBLEMS, sections):
        for task, method, seeds, what in problems.cells.itertuples():
            show(f"{task} {method}, seeds {seeds}: {what}")
    show(*notes, f"page: {page}", sep="\n")
