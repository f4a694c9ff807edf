"""The sections of a run page, each from the facts to HTML."""

from __future__ import annotations

from html import escape

import numpy as np

from learn2mix.run_page.charts import Line, chart
from learn2mix.run_page.facts import Array, Facts, last_known
from learn2mix.run_page.words import UNKNOWN, called, number

MOST_ROWS = 100  # of the table; more groups are pooled
MOST_MOVES = 8
LAG_HEIGHT, PAIR_HEIGHT = 70, 90  # pixels


def path_of_the_mix(facts: Facts) -> str:
    """Shares asked for."""
    return _section(
        "The path of the mix",
        f"Share of each batch that the mixer asks for, over the batches trained on.{_who_is_grey(facts)}",
        _chart(facts, "mix", "Share of the batch", facts.edges, facts.mix),
    )


def requested_and_realised(facts: Facts) -> str:
    """One small chart per group: asked for, and given."""
    if np.isnan(facts.mean_realised).all():
        return ""
    return _section(
        "Requested against realised",
        f"Coloured: the share asked for. Thin and dark: the share of the samples. {_how_pooled(facts)}",
        f'<div class="pairs">{"".join(_pair(facts, *placed) for placed in enumerate(facts.strong))}</div>',
    )


def _pair(facts: Facts, place: int, group: int) -> str:
    key, name = f"pair-{place}", escape(facts.names[group])
    requested, realised = (number(mean[group]) for mean in (facts.mean_requested, facts.mean_realised))
    lines = [
        Line("realised", facts.realised[:, group], "given"),
        Line("requested", facts.requested[:, group], f"g{place}"),
    ]
    title, whole = f"Requested and realised: {facts.names[group]}", float(facts.edges[-1])
    drawn = chart(key, title, facts.window_edges, lines, whole=whole, height=PAIR_HEIGHT, ends=False)
    return (
        f'<figure><figcaption><b class="key g{place}" title="{name}">{name}</b> '
        f'<span>requested <output data-of="{key}" data-line="1">{requested}</output> '
        f'realised <output data-of="{key}" data-line="0">{realised}</output></span></figcaption>'
        f"{drawn}</figure>"
    )


def losses(facts: Facts) -> str:
    """Mean loss of each group in each window."""
    if not np.isfinite(facts.losses).any():
        return ""
    return _section(
        "The loss of each group",
        f"Mean over the samples of each group. {_how_pooled(facts)} A gap: the group was not seen.",
        _chart(facts, "loss", "Loss", facts.window_edges, facts.losses),
    )


def lag(facts: Facts) -> str:
    """How many batches behind the mix was."""
    lags = np.asarray(facts.history.lag, dtype=np.float64)
    if not lags.any():
        return _section("Lag", "0 at every update: each batch was composed at the mix of its moment.", "")
    lines, whole = [Line("lag", lags, "given")], float(facts.edges[-1])
    drawn = chart("lag", "Lag in batches", facts.edges, lines, whole=whole, height=LAG_HEIGHT)
    told = f"Up to {lags.max():.0f} batches had been composed when the losses of the batch observed became known."
    return _section("Lag", told, drawn)


def what_changed(facts: Facts) -> str:
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


def groups(facts: Facts) -> str:
    """The table: what each group was asked for and given, how often its samples came, its loss."""
    shown = list(range(facts.num_groups))
    if facts.num_groups > MOST_ROWS:
        shown = sorted(facts.by_movement[: MOST_ROWS - 1])
    history, end = facts.history, facts.mix[-1]
    passes, coverage = history.passes[-1], history.coverage[-1]
    last_losses = last_known(facts.losses)
    widest = {"share": end[shown].max(), "passes": np.nanmax(np.append(passes[shown], 0.0))}
    rows = []
    for group in shown:
        size = history.sizes[group]
        rows.append(
            f'<tr><th scope="row"><b class="key {_style(facts, group)}">{escape(facts.names[group])}</b></th>'
            f"<td>{f'{size:,}' if size >= 0 else UNKNOWN}</td>"
            f"<td>{number(facts.mix[0, group])}</td>{_bar(end[group], widest['share'])}"
            f"<td>{number(facts.mean_realised[group])}</td>"
            f"{_bar(passes[group], widest['passes'])}{_bar(coverage[group], 1.0, percent=True)}"
            f"<td>{number(last_losses[group])}</td></tr>"
        )
    if len(shown) < facts.num_groups:
        rows.append(_pooled_row(facts, np.setdiff1d(np.arange(facts.num_groups), shown)))
    titles = ("Group", "Samples", "Share: start", "Share: end", "Share: realised", "Passes", "Seen", "Last loss")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return _section(
        "Groups",
        "Passes: how often the samples of a group came, on average. Seen: the share of them that came at least once.",
        f'<div class="scroll" tabindex="0" role="region" aria-label="Groups"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>",
    )


def _pooled_row(facts: Facts, pooled: Array) -> str:
    """One row for many groups: sums of shares and samples, means of what is per sample."""
    sizes = np.asarray(facts.history.sizes)[pooled]
    size = f"{sizes.sum():,}" if (sizes >= 0).all() else UNKNOWN
    passes, coverage = (_mean(values[-1, pooled]) for values in (facts.history.passes, facts.history.coverage))
    return (
        f'<tr><th scope="row"><b class="key other">the other {len(pooled):,}, pooled</b></th><td>{size}</td>'
        f"<td>{number(facts.mix[0, pooled].sum())}</td><td>{number(facts.mix[-1, pooled].sum())}</td>"
        f"<td>{number(facts.mean_realised[pooled].sum())}</td><td>{number(passes)}</td>"
        f"<td>{UNKNOWN if np.isnan(coverage) else f'{coverage:.0%}'}</td>"
        f"<td>{number(_mean(last_known(facts.losses[:, pooled])))}</td></tr>"
    )


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


def _bar(value: float, whole: float, *, percent: bool = False) -> str:
    """A cell with a number and a bar under it."""
    if not np.isfinite(value):
        return f"<td>{UNKNOWN}</td>"
    width = 0.0 if whole <= 0 else min(1.0, value / whole)
    text = f"{value:.0%}" if percent else number(value)
    return f'<td>{text}<i class="bar"><i style="width:{width:.1%}"></i></i></td>'


def _section(title: str, told: str, body: str) -> str:
    return f"<section><h2>{title}</h2><p>{told}</p>{body}</section>"


def _chart(facts: Facts, key: str, title: str, edges: Array, values: Array) -> str:
    """A chart of all groups, those that moved most in colours."""
    lines = [Line(facts.names[group], values[:, group], _style(facts, group)) for group in facts.strong]
    others = values[:, facts.others] if facts.others else None
    return chart(key, title, edges, lines, whole=float(facts.edges[-1]), others=others)


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


def values_of(facts: Facts) -> dict[str, tuple[Array, list[Array]]]:
    """What the script shows at the cursor: for each chart the edges of its spans, and each line's values."""
    lags = np.asarray(facts.history.lag, dtype=np.float64)
    by_chart = {
        "mix": (facts.edges, [*facts.mix[:, facts.strong].T]),
        "loss": (facts.window_edges, [*facts.losses[:, facts.strong].T]),
        "lag": (facts.edges, [lags] if lags.any() else []),
    }
    for place, group in enumerate(facts.strong):
        by_chart[f"pair-{place}"] = (facts.window_edges, [facts.realised[:, group], facts.requested[:, group]])
    return by_chart


SECTIONS = (path_of_the_mix, what_changed, requested_and_realised, losses, groups, lag)
