"""The path of a mix as one picture of a fixed size, for where no page can be: SVG with its words in it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from learn2mix.run_page.charts import (
    LIGHT,
    NUM_SOLID,
    Line,
    Scale,
    draw_others,
    line_ends,
    nice_ticks,
    scale_of,
    step_path,
)
from learn2mix.run_page.facts import Facts
from learn2mix.run_page.words import number, shortened, what_moved

if TYPE_CHECKING:
    from learn2mix.history import History

WIDTH, HEIGHT = 760, 300  # pixels
LEFT, TOP, RIGHT, BOTTOM = 48, 40, 190, 34  # around the lines
LONGEST_NAME, LONGEST_TITLE = 18, 90  # letters

# White in a dark notebook as well: a picture does not know what is around it.
STYLE = {
    "text": 'font: 12px system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; fill: #5a6470',
    ".said": "font-size: 14px; font-weight: 600; fill: #1d2228",
    ".name": "fill: #1d2228",
    ".value": "font-weight: 600",
    "path": "fill: none; stroke-width: 2",
    ".grid": "stroke: #dfe3e8; stroke-width: 1",
    ".other": "stroke: #b3bac3; stroke-width: 1",
    ".band": "fill: #b3bac3; opacity: .45",
} | {
    f".g{place}": f"stroke: {colour}{'; stroke-dasharray: 7 3' if place >= NUM_SOLID else ''}"
    for place, colour in enumerate(LIGHT)
}


def picture(history: History) -> str:
    """Draw the path of a mix as SVG: steps, those that moved most in colours, their names and shares at the ends."""
    facts = Facts(history)
    lines = [Line(facts.names[group], facts.mix[:, group], f"g{place}") for place, group in enumerate(facts.strong)]
    others = facts.mix[:, facts.others] if facts.others else None
    scale = scale_of(facts.edges, lines, others, HEIGHT - TOP - BOTTOM, WIDTH - LEFT - RIGHT)
    drawn = [draw_others(scale, others)] if others is not None else []
    drawn += [f'<path class="{line.style}" d="{step_path(scale, line.values)}"/>' for line in lines]
    style = " ".join(f".learn2mix {of} {{ {look} }}" for of, look in STYLE.items())  # where it is inlined, of it alone
    told = shortened(f"{facts.num_batches:,} batches: {what_moved(facts)}", LONGEST_TITLE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="learn2mix" width="{WIDTH}" height="{HEIGHT}" '
        f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}"><style>{style}</style>'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff"/>'
        f'<text class="said" x="{LEFT}" y="22">{escape(told)}</text>'
        f'<g transform="translate({LEFT} {TOP})">{_grid(scale)}{"".join(drawn)}{_ends(scale, lines)}</g></svg>'
    )


def _grid(scale: Scale) -> str:
    """Lines and numbers of the shares, and numbers of the batches."""
    drawn = []
    for tick in nice_ticks(scale.low, scale.high):
        y = f"{float(scale.y(tick)):.1f}"
        drawn.append(f'<path class="grid" d="M0 {y}H{scale.width}"/>')
        drawn.append(f'<text x="-8" y="{y}" dy=".35em" text-anchor="end">{tick:g}</text>')
    for tick in nice_ticks(0, scale.whole):
        if tick.is_integer():
            x = f"{tick / scale.whole * scale.width:.1f}"
            drawn.append(f'<text x="{x}" y="{scale.height + 20}" text-anchor="middle">{tick:,g}</text>')
    return "".join(drawn)


def _ends(scale: Scale, lines: list[Line]) -> str:
    """Names and shares beside the lines' ends, moved apart, each with a stroke to its line."""
    drawn = []
    for line, last, end, place in line_ends(scale, lines):
        name = shortened(line.name, LONGEST_NAME)
        drawn.append(f'<path class="{line.style}" d="M{scale.width} {end:.1f}L{scale.width + 12} {place:.1f}"/>')
        drawn.append(
            f'<text class="name" x="{scale.width + 17}" y="{place:.1f}" dy=".35em">{escape(name)} '
            f'<tspan class="value">{number(last)}</tspan></text>'
        )
    return "".join(drawn)
