"""The report for a browser, for a README and for a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from experiments.report.drawing import STRONG, VARIABLES, to_inline
from experiments.report.facts import facts
from experiments.report.intervals import TONES
from experiments.report.overview import MATRICES, overview
from experiments.report.pictures import Picture, draw_section, picture_of
from experiments.report.sections import Section
from experiments.report.sweeps import sweep_table, sweeps
from experiments.report.tables import Table, section_tables
from experiments.report.verdicts import Comparison, Scale, compare, headlines

MOST_COLUMNS = 7  # a table of ratios with more, and fewer rows, is turned
SYMBOLS = {"o": "●", "D": "◆", "s": "■", "^": "▲"}
RATIO = re.compile(r"(\S+) (\[.*?\]|\(one seed\)) (.*)")


class Chapter(NamedTuple):
    """A section, or what was varied on a task, with all that is shown of it."""

    title: str
    slug: str
    labels: list[str]
    pictures: list[Picture]
    tables: list[Table]
    facts: dict[str, str]
    comparison: Comparison | None

    @property
    def scale(self) -> Scale:
        """Where the effects of the comparison lie."""
        effects = {} if self.comparison is None else self.comparison.effects
        return Scale.over(effects.values(), is_ratio=self.comparison is None or self.comparison.is_ratio)

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """The methods that have a colour, each with its symbol and the colour's name."""
        strong = {label: STRONG[label] for label in self.labels if label in STRONG}
        return [(label, SYMBOLS[look.marker], VARIABLES[look.color]) for label, look in strong.items()]


def chapters_of(sections: Iterable[Section]) -> list[Chapter]:
    """A chapter a section, and after those of a task one on what was varied."""
    chapters = []
    for task, of_task in groupby(sections, lambda section: section.task):
        members = list(of_task)
        for one in members:
            told = (draw_section(one), section_tables(one), facts(one), compare(one))
            chapters.append(Chapter(one.title, one.slug, one.compared, *told))
        if varied := sweeps(members):
            pictures, tables = [picture_of(one) for one in varied], [sweep_table(one) for one in varied]
            lines = list(dict.fromkeys(line for one in varied for line in one.lines))
            chapters.append(
                Chapter(f"{task}: what settings change", f"{task}-settings", lines, pictures, tables, {}, None)
            )
    return chapters


def to_page(sections: Sequence[Section], chapters: Sequence[Chapter], notes: Iterable[str]) -> str:
    """A web page that needs nothing but itself."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"ratio": _ratio, "unbroken": _unbroken, "inline": to_inline}
    compared = [one.comparison for one in chapters if one.comparison is not None]
    judged = [(one, one.verdict) for one in compared if one.verdict is not None]
    scales = {
        kind: Scale.over([v for one, v in judged if one.is_ratio == kind], is_ratio=kind) for kind in (True, False)
    }
    tables = {table.title: _turned(table) for table in overview(sections)}
    later = {title for _, _, title in MATRICES[1:]}
    problems = tables.pop("Failed, missing and left out", None)
    return templates.get_template("page.html").render(
        headlines=headlines([one for one, _ in judged]),
        judged=[one for one, _ in judged],
        scales=scales,
        first=[table for title, table in tables.items() if title not in later],
        more=[table for title, table in tables.items() if title in later],
        problems=problems,
        is_urgent=problems is not None and not problems.cells["what"].str.startswith("left out").all(),
        notes=notes,
        chapters=chapters,
    )


def to_markdown(sections: Sequence[Section], chapters: Iterable[Chapter], notes: Iterable[str]) -> str:
    """Headings, facts and tables as they stand in a README; the pictures are linked."""
    blocks = [*(markdown_table(table) for table in overview(sections)), *notes]
    for one in chapters:
        blocks.append(f"## {one.title}")
        blocks.append(
            "\n".join(
                f"- {name}: " + (f"`{value}`" if name == "command" else value) for name, value in one.facts.items()
            )
        )
        blocks += [markdown_table(table, "###") for table in one.tables]
        blocks += [f"![{one.title}: {picture.title}]({one.slug}-{picture.name}.svg)" for picture in one.pictures]
    return "\n\n".join(filter(None, blocks)) + "\n"


def to_screen(title: str, table: Table) -> RichTable:
    """A table for a terminal."""
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for place, column in enumerate((table.cells.index.name, *table.cells.columns)):
        shown.add_column(column, justify="left" if place == 0 or column == "what" else "right")
    for row in table.cells.itertuples():
        shown.add_row(*(Text(cell) for cell in row))  # as it is: what stands in brackets is no style
    return shown


def markdown_table(table: Table, heading: str = "##") -> str:
    """A heading, the table, and what it shows."""
    frame = table.cells.reset_index()
    ends = ["---", *["---" if "what" in frame else "---:"] * (frame.shape[1] - 1)]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in (frame.columns, *frame.to_numpy())]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([f"{heading} {table.title}", "", lines[0], f"|{'|'.join(ends)}|", *lines[1:], "", table.note])


def _turned(table: Table) -> Table:
    """A table of ratios with the tasks as columns, where that makes it narrower."""
    num_rows, num_columns = table.cells.shape
    if num_columns <= max(MOST_COLUMNS, num_rows) or not table.cells.iloc[0].str.contains("[", regex=False).any():
        return table
    return table._replace(cells=table.cells.T.rename_axis("method"))


def _unbroken(cell: str) -> str:
    """A cell whose lines break between its parts, and nowhere within them."""
    return re.sub(r"\(.*?\)| ± ", lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)


def _ratio(cell: str) -> tuple[str, str, str, str] | None:
    """A ratio's number, interval, words and tone; None for other cells."""
    found = RATIO.fullmatch(cell)
    return None if found is None or found[3] not in TONES else (found[1], found[2], found[3], TONES[found[3]])
