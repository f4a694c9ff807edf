"""The same tables for a screen, for a page and for a README."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image as Pixels
from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable
from rich.text import Text

from experiments.report.contents import section_tables
from experiments.report.facts import facts
from experiments.report.results import Section
from experiments.report.tables import Table

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)


class Image(NamedTuple):
    """A picture on disk, and what it shows."""

    path: Path
    caption: str


class Chapter(NamedTuple):
    """A section with its pictures."""

    section: Section
    images: list[Image]


def to_page(overview: Sequence[Table], chapters: Sequence[Chapter], notes: Sequence[str]) -> str:
    """A web page that needs nothing but itself."""
    return _TEMPLATES.get_template("page.html").render(
        overview=overview, notes=notes, chapters=[_chapter(chapter) for chapter in chapters]
    )


def to_markdown(overview: Sequence[Table], chapters: Sequence[Chapter], notes: Sequence[str]) -> str:
    """Headings, facts and tables as they stand in a README; the pictures are linked."""
    blocks = [_markdown_table(table, "##") for table in overview]
    blocks += notes
    for section, images in chapters:
        blocks.append(f"## {section.title}")
        blocks.append("\n".join(_markdown_fact(*fact) for fact in facts(section)))
        blocks += [_markdown_table(table, "###") for table in section_tables(section)]
        blocks += [f"![{section.title}: {image.caption}]({image.path.name})" for image in images]
    return "\n\n".join(blocks) + "\n"


def to_screen(title: str, table: Table) -> RichTable:
    """A table for a terminal."""
    shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(table.columns):
        shown.add_column(column, justify="left" if place == 0 or table.is_words else "right")
    for row in table.rows:
        # As it is: what stands in brackets is no style.
        shown.add_row(*(Text(cell) for cell in row))
    return shown


def _chapter(chapter: Chapter) -> dict[str, Any]:
    section, images = chapter
    return {
        "title": section.title,
        "slug": section.slug,
        "facts": facts(section),
        "tables": section_tables(section),
        "images": [_inline(image) for image in images],
    }


def _inline(image: Image) -> dict[str, Any]:
    with Pixels.open(image.path) as pixels:
        width, height = pixels.size
    content = base64.b64encode(image.path.read_bytes()).decode("ascii")
    # Drawn with twice the pixels that it takes on a page, so that it is sharp on a telephone.
    return {
        "base64": content,
        "caption": image.caption,
        "name": image.path.stem,
        "width": width // 2,
        "height": height // 2,
    }


def _markdown_table(table: Table, heading: str) -> str:
    others = "---" if table.is_words else "---:"
    lines = [_markdown_row(table.columns), f"|---{f'|{others}' * (len(table.columns) - 1)}|"]
    lines += [_markdown_row(row) for row in table.rows]
    return "\n".join([f"{heading} {table.title}", "", *lines, "", table.note])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _markdown_fact(name: str, value: str) -> str:
    return f"- {name}: `{value}`" if name == "command" else f"- {name}: {value}"
