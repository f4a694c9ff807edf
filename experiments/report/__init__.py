"""What folders of runs say: tables on the screen, and a page, tables and pictures beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from experiments.report.balanced import long_tail_table
from experiments.report.collect import collect
from experiments.report.overview import overview_table, problem_table, ratio_matrix, rival_table
from experiments.report.pictures import draw_section
from experiments.report.render import Chapter, Image, to_markdown, to_page, to_screen
from experiments.report.results import Section
from experiments.report.tables import error_table

# Pixels an inch: a picture 6 inches wide is 1080 pixels wide.
RESOLUTION = 180


def report(folders: Sequence[Path], console: Console) -> None:
    """Print the tables of all runs below some folders, however many there are yet, and write what they say in full.

    ``report.html``, ``tables.md`` and the pictures go into the first folder.

    Raises:
        UserError: if there are none, or a file is no run.
    """
    sections, notes = collect(folders)
    problems = problem_table(sections)
    rivals = [rival_table(sections, 1 / 2, "half-way"), rival_table(sections, 1.0, "at the end")]
    overview = [long_tail_table(sections), overview_table(sections), ratio_matrix(sections), *rivals, problems]
    present = [table for table in overview if table is not None]
    chapters = [Chapter(section, _save_pictures(section, folders[0])) for section in sections]
    (folders[0] / "report.html").write_text(to_page(present, chapters, notes), encoding="utf-8")
    (folders[0] / "tables.md").write_text(to_markdown(present, chapters, notes), encoding="utf-8")
    for section in sections:
        table = error_table(section).without("catches up, s")
        console.print(to_screen(f"{section.title}: {table.title}", table))
    console.print(error_table(sections[0]).note, highlight=False)
    if problems is not None:
        console.print(to_screen(problems.title, problems))
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"page: {folders[0] / 'report.html'}", highlight=False, soft_wrap=True)


def _save_pictures(section: Section, folder: Path) -> list[Image]:
    images = []
    for picture in draw_section(section):
        path = folder / f"{section.slug}-{picture.name}.png"
        picture.figure.savefig(path, dpi=RESOLUTION)
        images.append(Image(path, picture.caption))
    return images
