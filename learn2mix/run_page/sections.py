"""The sections of a run page, each from the facts to HTML."""

from __future__ import annotations

from html import escape

import numpy as np

from learn2mix.run_page.charts import Charts, Line
from learn2mix.run_page.facts import Array, Facts
from learn2mix.run_page.words import UNKNOWN, called, number

MOST_ROWS = 100  # of the table; more groups are pooled
MOST_MOVES = 8
LAG_HEIGHT, PAIR_HEIGHT = 70, 90  # pixels


def path_of_the_mix(facts: Facts, charts: Charts) -> str:
    """Shares asked for."""
    return _section(
        "The path of the mix",
        f"Share of each batch that the mixer asks for, over the batches trained on.{_who_is_grey(facts)}",
        _chart(facts, charts, "mix", "Share of the batch", facts.edges, facts.mix),
    )


def requested_and_realised(facts: Facts, charts: Charts) -> str:
    """One small chart per group: asked for, and given."""
    if np.isnan(facts.mean_realised).all():
        return ""
    return _section(
        "Requested against realised",
        f"Coloured: the share asked for. Thin and dark: the share of the samples. {_how_pooled(facts)}",
        f'<div class="pairs">{"".join(_pair(facts, charts, *placed) for placed in enumerate(facts.strong))}</div>',
    )


def _pair(facts: Facts, charts: Charts, place: int, group: int) -> str:
    key, name = f"pair-{place}", escape(facts.names[group])
    requested, realised = (number(mean[group]) for mean in (facts.mean_requested, facts.mean_realised))
    lines = [
        Line("realised", facts.realised[:, group], "given"),
        Line("requested", facts.requested[:, group], f"g{place}"),
    ]
    title = f"Requested and realised: {facts.names[group]}"
    drawn = charts.draw(key, title, facts.window_edges, lines, height=PAIR_HEIGHT, ends=False)
    return (
        f'<figure><figcaption><b class="key g{place}" title="{name}">{name}</b> '
        f'<span>requested <output data-of="{key}" data-line="1">{requested}</output> '
        f'realised <output data-of="{key}" data-line="0">{realised}</output></span></figcaption>'
        f"{drawn}</figure>"
    )


def losses(facts: Facts, charts: Charts) -> str:
    """Mean loss of each group in each window."""
    if not np.isfinite(facts.losses).any():
        return ""
    return _section(
        "The loss of each group",
        f"Mean over the samples of each group. {_how_pooled(facts)} A gap: the group was not seen.",
        _chart(facts, charts, "loss", "Loss", facts.window_edges, facts.losses),
    )


def lag(facts: Facts, charts: Charts) -> str:
    """How many batches behind the mix was."""
    lags = facts.history.lag
    if not lags.any():
        return _section("Lag", "0 at every update: each batch was composed at the mix of its moment.", "")
    drawn = charts.draw("lag", "Lag in batches", facts.edges, [Line("lag", lags, "given")], height=LAG_HEIGHT)
    told = f"Up to {lags.max()} batches had been composed when the losses of the batch observed became known."
    return _section("Lag", told, drawn)


def what_changed(facts: Facts, charts: Charts) -> str:
    """The largest rise or fall of each group that moved, in the order of their beginning."""
    moves = [facts.move(group) for group in facts.by_movement[:MOST_MOVES]]
    moves = sorted((move for move in moves if move.size >= facts.steady), key=lambda move: (move.begin, move.end))
    if not moves:
        return ""
    told = "".join(
        f'<li><b class="key {_style(facts, move.group)}">{escape(called(facts.names[move.group]))}</b> '
        f"{'rose' if move.after > move.before else 'fell'} from {number(move.before)} to {number(move.after)} "
        f'<span class="when">{_span(move.begin, move.end)}</span></li>'
        for move in moves
    )
    return _section(
        "What changed when", "The largest rise or fall of each group that moved most.", f'<ol class="moves">{told}</ol>'
    )


def groups(facts: Facts, charts: Charts) -> str:
    """The table: what each group was asked for and given, how often its samples came, its loss."""
    shown = list(range(facts.num_groups))
    if facts.num_groups > MOST_ROWS:
        shown = sorted(facts.by_movement[: MOST_ROWS - 1])
    widest = {"share": facts.mix[-1, shown].max(), "passes": np.nanmax(np.append(facts.history.passes[-1, shown], 0.0))}
    rows = [_row(facts, facts.names[group], [group], widest) for group in shown]
    if len(shown) < facts.num_groups:
        pooled = np.setdiff1d(np.arange(facts.num_groups), shown)
        rows.append(_row(facts, f"the other {len(pooled):,}, pooled", pooled.tolist()))
    titles = ("Group", "Samples", "Share: start", "Share: end", "Share: realised", "Passes", "Seen", "Last loss")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return _section(
        "Groups",
        "Passes: how often the samples of a group came, on average. Seen: the share of them that came at least once.",
        f'<div class="scroll" tabindex="0" role="region" aria-label="Groups"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>",
    )


def _row(facts: Facts, name: str, members: list[int], widest: dict[str, float] | None = None) -> str:
    """A row of the table, of one group or of many: sums of shares and samples, means of what is per sample.

    Bars fill their cells at the ``widest`` values; there are none without.
    """
    bars = {} if widest is None else widest | {"coverage": 1.0}
    sizes, start, end = facts.history.sizes[members], facts.mix[0, members].sum(), facts.mix[-1, members].sum()
    size = f"{sizes.sum():,}" if (sizes >= 0).all() else UNKNOWN
    passes, coverage = (_mean(values[-1, members]) for values in (facts.history.passes, facts.history.coverage))
    style = _style(facts, members[0])
    return (
        f'<tr><th scope="row"><b class="key {style}">{escape(name)}</b></th><td>{size}</td>'
        f"<td>{number(start)}</td>{_cell(number(end), end, bars.get('share'))}"
        f"<td>{number(facts.mean_realised[members].sum())}</td>{_cell(number(passes), passes, bars.get('passes'))}"
        f"{_cell(f'{coverage:.0%}', coverage, bars.get('coverage'))}"
        f"<td>{number(_mean(facts.last_losses[members]))}</td></tr>"
    )


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


def _cell(text: str, value: float, widest: float | None) -> str:
    """A cell with a number, and under it a bar, unless nothing is known of how wide it can be."""
    if not np.isfinite(value):
        return f"<td>{UNKNOWN}</td>"
    if widest is None:
        return f"<td>{text}</td>"
    width = min(1.0, value / widest) if widest > 0 else 0.0
    return f'<td>{text}<i class="bar"><i style="width:{width:.1%}"></i></i></td>'


def _section(title: str, told: str, body: str) -> str:
    return f"<section><h2>{title}</h2><p>{told}</p>{body}</section>"


def _chart(facts: Facts, charts: Charts, key: str, title: str, edges: Array, values: Array) -> str:
    """A chart of all groups, those that moved most in colours."""
    lines = [Line(facts.names[group], values[:, group], _style(facts, group)) for group in facts.strong]
    others = values[:, facts.others] if facts.others else None
    return charts.draw(key, title, edges, lines, others=others)


def _how_pooled(facts: Facts) -> str:
    """How many batches a step stands for."""
    lengths = np.diff(facts.window_edges)
    low, high = lengths.min(), lengths.max()
    return f"A step: {low:,}{f' to {high:,}' if low < high else ''} {'batch' if high == 1 else 'batches'}."


def _style(facts: Facts, group: int) -> str:
    return f"g{facts.strong.index(group)}" if group in facts.strong else "other"


def _who_is_grey(facts: Facts) -> str:
    if not facts.others:
        return ""
    names = f" ({', '.join(escape(facts.names[group]) for group in facts.others)})" if len(facts.others) <= 5 else ""
    return f" The {len(facts.strong)} that moved most have a colour; grey: the other {len(facts.others):,}{names}."


def _span(begin: int, end: int) -> str:
    return f"batch {end:,}" if end - begin <= 1 else f"batches {begin:,} to {end:,}"


SECTIONS = (path_of_the_mix, what_changed, requested_and_realised, losses, groups, lag)
