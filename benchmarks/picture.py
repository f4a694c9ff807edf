"""The picture of docs/performance.md: cost against batch size, number of groups, number of samples."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import composing, huge, training_step
from benchmarks.rows import Row
from learn2mix.extras import needs_extra

with needs_extra("plot"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# In the order of the legend: colours that colour-blind readers tell apart (Okabe and Ito), and markers.
STEP = "training step of an MLP"
STYLES = {
    STEP: {"color": "#777777", "marker": "", "linewidth": 3, "alpha": 0.6},
    "Learn2Mix, losses observed": {"color": "#D55E00", "marker": "o"},
    "fixed mix": {"color": "#0072B2", "marker": "s"},
    "torch, random batches": {"color": "#000000", "marker": "^"},
    "floor: shuffle and slice": {"color": "#009E73", "marker": "v"},
    "fixed mix, first batch": {"color": "#0072B2", "marker": "D", "linestyle": ":"},
}
COMPOSING = {
    "Learn2Mix, losses observed": composing.OBSERVED,
    "fixed mix": composing.SHUFFLED,
    "torch, random batches": composing.TORCH,
    "floor: shuffle and slice": composing.LISTS,
}
# Inches, and how many panels stand side by side: for a screen of a computer and of a telephone.
FORMS = {"wide": (12.4, 4.3, 3), "narrow": (4.2, 11.4, 1)}
LOOK = {"svg.hashsalt": "learn2mix", "font.size": 11, "axes.spines.top": False, "axes.spines.right": False}


@dataclass(frozen=True)
class Panel:
    """One sweep: for each line the points (size, microseconds), smallest size first."""

    title: str
    swept: str
    lines: dict[str, list[tuple[int, float]]]


def draw(rows: list[Row], folder: Path) -> list[Path]:
    """Write the picture in both forms, each with the digest of the rows that it is of."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"performance-{form}.svg" for form in FORMS]
    for path, (width, height, columns) in zip(paths, FORMS.values(), strict=True):
        with mpl.rc_context(LOOK):
            figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
            axes = figure.subplots(3 // columns, columns, sharey=True).flat
            handles: dict[str, Line2D] = {}
            for pair in zip(axes, panels(rows), strict=True):
                handles |= _fill(*pair)
            names = [name for name in STYLES if name in handles]
            figure.legend(
                [handles[name] for name in names], names, loc="outside lower center", ncols=columns, frameon=False
            )
            figure.savefig(path, metadata={"Date": None, "Description": digest(rows)})
    return paths


def digest(rows: list[Row]) -> str:
    """A number that tells these rows from others."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()


def panels(rows: list[Row]) -> list[Panel]:
    """The three sweeps. The line of a training step is at its own batch size, for all have one."""
    composed = {
        label: [row for row in rows if (row.measure, row.name) == (composing.MEASURE, name)]
        for label, name in COMPOSING.items()
    }
    steps = [row for row in rows if (row.measure, row.name) == (training_step.MEASURE, training_step.MLP)]
    of_sizes = {label: [row for row in found if row.num_groups == 10] for label, found in composed.items()}
    of_groups = {label: [row for row in found if row.batch_size == 1000] for label, found in composed.items()}
    huge_rows = [row for row in rows if row.measure == huge.MEASURE and row.num_groups == 1000]
    of_samples = {
        "fixed mix": [row for row in huge_rows if row.name == huge.STEADY],
        "fixed mix, first batch": [
            replace(row, value=row.value and 1e3 * row.value) for row in huge_rows if row.name == huge.FIRST
        ],
    }
    by_size = _points({STEP: steps, **of_sizes}, "batch_size")
    by_groups, by_samples = _points(of_groups, "num_groups"), _points(of_samples, "num_samples")
    for lines in (by_groups, by_samples):
        sizes = {size for line in lines.values() for size, _ in line}
        lines[STEP] = [(size, row.value) for size in sorted(sizes) for row in steps if row.batch_size == 1000]
    return [
        Panel("10 groups", "samples in a batch, M", by_size),
        Panel("Batches of 1,000", "groups, K", by_groups),
        Panel("Batches of 1,000 from 1,000 data sets", "samples in the data, N", by_samples),
    ]


def _points(lines: dict[str, list[Row]], size: str) -> dict[str, list[tuple[int, float]]]:
    return {
        label: sorted((getattr(row, size), row.value) for row in rows if row.value is not None)
        for label, rows in lines.items()
    }


def _fill(axes: Axes, panel: Panel) -> dict[str, Line2D]:
    """Draw a panel, and return its lines by name."""
    handles = {}
    for label, points in panel.lines.items():
        if points:
            (handles[label],) = axes.loglog(*zip(*points, strict=True), label=label, markersize=6, **STYLES[label])
    sizes = sorted({size for points in panel.lines.values() for size, _ in points})
    axes.set_xticks(sizes, [f"{size:,}" if size < 10**6 else f"{size // 10**6:,} M" for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, position: time_label(value))
    axes.tick_params(labelleft=True)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_title(panel.title, loc="left", fontsize=12)
    axes.set(xlabel=panel.swept, ylabel="a batch takes")
    return handles


def time_label(microseconds: float) -> str:
    """Microseconds in the unit that keeps the number short.

    Example:
        >>> [time_label(value) for value in (0.1, 10, 1000, 100_000, 1e7)]
        ['0.1 µs', '10 µs', '1 ms', '100 ms', '10 s']
    """
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{microseconds:g} µs"
