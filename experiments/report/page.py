"""The report for a browser and for a README, in chapters."""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from experiments.report.intervals import TONES, Effect
from experiments.report.pictures import VARIABLES, Picture, draw_section, picture_of_effects
from experiments.report.sections import BALANCED, BASELINE, END, LEARNER, LONG_TAIL_LEARNER, Section
from experiments.report.sweeps import picture_of_sweep, sweep_table, sweeps
from experiments.report.tables import Table, overview, section_tables

RATIO = re.compile(rf"(\S+) (\[.*?\]|\(one seed\)) ({'|'.join(TONES)})")


class Comparison(NamedTuple):
    """The effects of methods, beside another one, and what they say of ours: nothing without seeds of both."""

    measure: str
    effects: dict[str, Effect]
    verdict: Effect | None
    sentence: str


def compare(section: Section) -> Comparison | None:
    """Long tails by balanced accuracy where ours for them was run, all else by errors; None without what to compare."""
    ours, other, measure, title = section.find(LEARNER), BASELINE, END, f"error at the end, ratio to {BASELINE}"
    if section.is_long_tail and section.find(LONG_TAIL_LEARNER) and section.find(BALANCED):
        ours, other, measure = section.find(LONG_TAIL_LEARNER), BALANCED, "balanced accuracy"
        title = f"balanced accuracy over {BALANCED}, points"
    if (rival := section.find(other)) is None:
        return None
    effects = {label: section.effect(label, rival, measure) for label in section.compared if label != rival}
    effects = {label: effect for label, effect in effects.items() if not math.isnan(effect.mean)}
    verdict, sentence = effects.get(ours or ""), ""
    if ours and verdict and verdict.is_ratio:
        reached, epochs = section.caught_up(ours), section.measures["epochs"][BASELINE].mean()
        sentence = f"Ratio of errors {verdict.show()}; epochs to catch up, of {epochs:g}: {reached}"
    elif verdict:
        sentence = f"Points of balanced accuracy over {rival}: {verdict.show()}"
    return Comparison(title, effects, verdict, sentence) if effects else None


def headline(verdicts: Collection[Effect]) -> str:
    """How often ours wins, ties and loses, by verdicts of one measure."""
    tones, is_ratio = [verdict.tone for verdict in verdicts], all(verdict.is_ratio for verdict in verdicts)
    wins, losses, ties = map(tones.count, ("better", "worse", "same"))
    ours, other = (LEARNER, BASELINE) if is_ratio else (LONG_TAIL_LEARNER, BALANCED)
    better, worse = ("lower error", "higher") if is_ratio else ("higher balanced accuracy", "lower")
    ends = f"{ours} ends with a {better} than {other} on {wins} of {len(tones)} task{'s' * (len(tones) > 1)}"
    return f"{ends}, a {worse} one on {losses}; on {ties} no difference is shown."


class Chapter(NamedTuple):
    """All that is shown of all tasks, of a section, or of what was varied on a task."""

    title: str
    slug: str
    text: str
    pictures: list[Picture]
    tables: list[Table]


def chapters_of(sections: Sequence[Section]) -> list[Chapter]:
    """All tasks together; then a chapter a section, and after those of a task one on what was varied."""
    chapters, verdicts = list[Chapter](), dict[str, dict[str, Effect]]()
    for task, of_task in groupby(sections, lambda section: section.task):
        members = list(of_task)
        for one in members:
            pictures, text = draw_section(one), ""
            if compared := compare(one):
                pictures.insert(1, picture_of_effects(compared.measure, compared.effects))
                text = compared.sentence
                if compared.verdict:
                    verdicts.setdefault(compared.measure, {})[one.title] = compared.verdict
            chapters.append(Chapter(one.title, one.slug, text, pictures, section_tables(one)))
        if varied := sweeps(members):
            pictures, tables = [*map(picture_of_sweep, varied)], [*map(sweep_table, varied)]
            chapters.append(Chapter(f"{task}: settings", f"{task}-settings", "", pictures, tables))
    text = " ".join(headline(of_tasks.values()) for of_tasks in verdicts.values())
    pictures = [picture_of_effects(measure, of_tasks) for measure, of_tasks in verdicts.items()]
    return [Chapter("All tasks", "all-tasks", text, pictures, overview(sections)), *chapters]


def to_page(chapters: Sequence[Chapter], notes: Iterable[str]) -> str:
    """A web page that needs nothing but itself."""
    loader = FileSystemLoader(Path(__file__).parent)
    templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    templates.filters |= {"ratio": RATIO.fullmatch, "unbroken": _unbroken, "inline": to_inline}
    return templates.get_template("page.html").render(chapters=chapters, notes=notes, tones=TONES)


def to_markdown(chapters: Iterable[Chapter], notes: Iterable[str]) -> str:
    """Headings, sentences and tables as they stand in a README; the pictures are linked."""
    blocks = [*notes]
    for one in chapters:
        blocks += [f"## {one.title}", *filter(None, [one.text]), *map(markdown_table, one.tables)]
        blocks += [f"![{one.title}: {picture.title}]({one.slug}-{picture.name}.svg)" for picture in one.pictures]
    return "\n\n".join(blocks) + "\n"


def markdown_table(table: Table) -> str:
    """A heading, the table, and what it shows."""
    cells = table.cells.reset_index()
    ends = "|---" * cells.shape[1] if "what" in cells else "|---" + "|---:" * (cells.shape[1] - 1)
    rows = ("| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in (cells, *cells.to_numpy()))
    return "\n".join([f"### {table.title}", "", next(rows), f"{ends}|", *rows, "", table.note])


def to_inline(svg: str) -> str:
    """The picture as part of a page, without names that another has too, and with the colours of the page's theme."""
    svg = re.sub(r'<metadata>.*?</metadata>|(?<=<g) id="[^"]*"', "", svg[svg.index("<svg") :], flags=re.DOTALL)
    for color, name in VARIABLES.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg


def _unbroken(cell: str) -> str:
    """A cell whose lines break between its parts, and nowhere within them."""
    return re.sub(r"\(.*?\)| ± ", lambda part: part[0].replace(" ", "\N{NO-BREAK SPACE}"), cell)
