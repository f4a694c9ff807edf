"""The report for a browser, for a README and for a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from experiments.report.drawing import VARIABLES, looks, to_inline
from experiments.report.facts import facts
from experiments.report.intervals import UNKNOWN
from experiments.report.overview import overview
from experiments.report.pictures import Picture
from experiments.report.sections import LEARNER, Section
from experiments.report.tables import Table, section_tables
from experiments.report.verdicts import TONES, Comparison, Scale, compare, headlines

Drawn = Mapping[str, Sequence[tuple[Picture, str]]]  # a section's slug -> its pictures with their SVG

MOST_COLUMNS = 7  # a table of ratios with more, and fewer rows, is turned
SYMBOLS = {"o": "●", "D": "◆", "s": "■", "^": "▲"}
RATIO = re.compile(r"(\S+) (\[.*?\]|\(one seed\))\s(.*)", re.DOTALL)


def to_page(sections: Sequence[Section], notes: Iterable[str], drawn: Drawn) -> str:
    """A web page that needs nothing but itself."""
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= {"ratio": _ratio, "unbroken": _unbroken}
    compared = {section.slug: compare(section) for section in sections}
    judged = [one for one in compared.values() if one is not None and one.verdict is not None]
    scales = {
        is_ratio: Scale.over(
            (one.verdict for one in judged if one.verdict and one.is_ratio == is_ratio), is_ratio=is_ratio
        )
        for is_ratio in (True, False)
    }
    return templates.get_template("page.html").render(
        headlines=headlines(judged),
        judged=judged,
        scales=scales,
        tables=_overview(sections),
        notes=notes,
        chapters=[_chapter(section, compared[section.slug], drawn[section.slug]) for section in sections],
    )


def to_markdown(sections: Sequence[Section], notes: Iterable[str], drawn: Drawn) -> str:
    """Headings, facts and tables as they stand in a README; the pictures are linked."""
    blocks = [markdown_table(table) for table in overview(sections)] + list(notes)
    for section in sections:
        blocks.append(f"## {section.title}")
        blocks.append("\n".join(f"- {name}: {_code(value, name)}" for name, value in facts(section)))
        blocks += [markdown_table(table, "###") for table in section_tables(section)]
        blocks += [f"![{section.title}: {one.title}]({section.slug}-{one.name}.svg)" for one, _ in drawn[section.slug]]
    return "\n\n".join(blocks) + "\n"


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
    columns = [table.cells.index.name, *table.cells.columns]
    others = "---" if "what" in columns else "---:"
    lines = [_markdown_row(columns), f"|---{f'|{others}' * (len(columns) - 1)}|"]
    lines += [_markdown_row(row) for row in table.cells.itertuples()]
    return "\n".join([f"{heading} {table.title}", "", *lines, "", table.note])


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _code(value: str, name: str) -> str:
    return f"`{value}`" if name == "command" else value


def _chapter(
    section: Section, comparison: Comparison | None, pictures: Sequence[tuple[Picture, str]]
) -> dict[str, Any]:
    effects = [] if comparison is None else list(comparison.effects.values())
    strong = {label: look for label, look in looks(section.compared).items() if look.is_strong}
    return {
        "section": section,
        "comparison": comparison,
        "scale": Scale.over(effects, is_ratio=comparison is None or comparison.is_ratio),
        "legend": [(label, SYMBOLS[look.marker], VARIABLES[look.color]) for label, look in strong.items()],
        "pictures": [(picture, to_inline(svg)) for picture, svg in pictures],
        "tables": section_tables(section),
        "facts": facts(section),
    }


def _overview(sections: Sequence[Section]) -> dict[str, Any]:
    """The tables of all sections: those to be seen first, those to be opened, and what there is no run of."""
    tables = [_turned(table) for table in overview(sections)]
    more = [table for table in tables if table.title.startswith(f"{LEARNER} against each")]
    problems = next((table for table in tables if "what" in table.cells), None)
    return {
        "first": [table for table in tables if table is not problems and not any(table is one for one in more)],
        "more": more,
        "problems": problems,
        "is_urgent": problems is not None and not problems.cells["what"].str.startswith("left out").all(),
    }


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
    found = None if cell == UNKNOWN else RATIO.fullmatch(cell)
    return None if found is None or found[3] not in TONES else (found[1], found[2], found[3], TONES[found[3]])
