"""The report for a browser, for a README and for a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from experiments.report.drawing import STRONG, VARIABLES, Look, to_inline
from experiments.report.intervals import TONES
from experiments.report.pictures import Picture, draw_section, picture_of
from experiments.report.sections import RUN, Section
from experiments.report.sweeps import sweep_table, sweeps
from experiments.report.tables import LATER, PROBLEMS, Table, overview, section_tables
from experiments.report.verdicts import Comparison, Scale, compare, headlines
from experiments.tasks import find_task

MOST_COLUMNS = 7  # a table of ratios with more, and fewer rows, is turned
SYMBOLS = {"o": "●", "D": "◆", "s": "■", "^": "▲"}
RATIO = re.compile(rf"(\S+) (\[.*?\]|\(one seed\)) ({'|'.join(TONES)})")


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
    def strong(self) -> dict[str, Look]:
        """The methods that have a colour."""
        return {label: STRONG[label] for label in self.labels if label in STRONG}


def chapters_of(sections: Iterable[Section]) -> list[Chapter]:
    """A chapter a section, and after those of a task one on what was varied."""
    chapters = []
    for task, of_task in groupby(sections, lambda section: section.task):
        members = list(of_task)
        for one in members:
            shown = (draw_section(one), section_tables(one), facts(one), compare(one))
            chapters.append(Chapter(one.title, one.slug, one.compared, *shown))
        if varied := sweeps(members):
            lines = [*dict.fromkeys(line for one in varied for line in one.lines)]
            pictures, tables = [picture_of(one) for one in varied], [sweep_table(one) for one in varied]
            chapters.append(Chapter(f"{task}: settings", f"{task}-settings", lines, pictures, tables, {}, None))
    return chapters


def facts(section: Section) -> dict[str, str]:
    """What a reader needs to trust a section's numbers, and to make them again."""
    usual, config = find_task(section.task, None).settings, section.config
    was = {name: f" (there {one.value}, {one.source})" for name, one in usual.items() if one.value != config.get(name)}
    changed = {name: f"{config[name]}{was.get(name, '')}" for name in config if name in was or name not in usual}
    made_on = dict.fromkeys(_listed(one | one.get("versions", {})) for one in section.runs["environment"].dropna())
    stated = {
        "command": "; ".join(section.runs["command"].dropna().unique()),
        "settings": _listed(config),
        "changed from the task's own": _listed(changed),
        "made on": "; ".join(made_on),
    }
    if section.trained:
        seconds = section.values["whole", "seconds"].groupby(level=RUN).max()
        stated["time"] = f"{seconds.sum():,.0f} s of training in {len(seconds)} runs"
    return {name: value for name, value in stated.items() if value}


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items() if not isinstance(value, dict))


def to_page(sections: Sequence[Section], chapters: Sequence[Chapter], notes: Iterable[str]) -> str:
    """A web page that needs nothing but itself."""
    loader = FileSystemLoader(Path(__file__).parent)
    templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    templates.filters |= {"ratio": RATIO.fullmatch, "unbroken": _unbroken, "inline": to_inline}
    judged = [one.comparison for one in chapters if one.comparison is not None and one.comparison.verdict is not None]
    tables = {table.title: _turned(table) for table in overview(sections)}
    problems = tables.pop(PROBLEMS, None)
    return templates.get_template("page.html").render(
        headlines=headlines(judged),
        judged=judged,
        scales={
            kind: Scale.over([one.verdict for one in judged if one.is_ratio == kind], is_ratio=kind)
            for kind in (True, False)
        },
        problems=problems,
        is_urgent=problems is not None and not problems.cells["what"].str.startswith("left out").all(),
        more=[table for title, table in tables.items() if title in LATER],
        first=[table for title, table in tables.items() if title not in LATER],
        notes=notes,
        chapters=chapters,
        symbols=SYMBOLS,
        colors=VARIABLES,
        tones=TONES,
    )


def to_markdown(sections: Sequence[Section], chapters: Iterable[Chapter], notes: Iterable[str]) -> str:
    """Headings, facts and tables as they stand in a README; the pictures are linked."""
    blocks = [*map(markdown_table, overview(sections)), *notes]
    for one in chapters:
        stated = [f"- {name}: " + (f"`{value}`" if name == "command" else value) for name, value in one.facts.items()]
        blocks += [f"## {one.title}", *(["\n".join(stated)] if stated else [])]
        blocks += [markdown_table(table, "###") for table in one.tables]
        blocks += [f"![{one.title}: {picture.title}]({one.slug}-{picture.name}.svg)" for picture in one.pictures]
    return "\n\n".join(blocks) + "\n"


def to_screen(title: str, table: Table) -> RichTable:
    """A table for a terminal."""
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for place, column in enumerate((table.cells.index.name, *table.cells)):
        shown.add_column(column, justify="left" if place == 0 or column == "what" else "right")
    for row in table.cells.itertuples():
        shown.add_row(*map(Text, row))  # as it is: what stands in brackets is no style
    return shown


def markdown_table(table: Table, heading: str = "##") -> str:
    """A heading, the table, and what it shows."""
    cells = table.cells.reset_index()
    ends = "|---" * cells.shape[1] if "what" in cells else "|---" + "|---:" * (cells.shape[1] - 1)
    head, *rows = (
        "| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in (cells, *cells.to_numpy())
    )
    return "\n".join([f"{heading} {table.title}", "", head, f"{ends}|", *rows, "", table.note])


def _turned(table: Table) -> Table:
    """A table of ratios with the tasks as columns, where that makes it narrower."""
    (num_rows, num_columns), first = table.cells.shape, table.cells.iloc[0]
    is_wide = num_columns > max(MOST_COLUMNS, num_rows) and first.str.contains("[", regex=False).any()
    return table._replace(cells=table.cells.T.rename_axis("method")) if is_wide else table


def _unbroken(cell: str) -> str:
    """A cell whose lines break between its parts, and nowhere within them."""
    return re.sub(r"\(.*?\)| ± ", lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)
