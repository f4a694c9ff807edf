"""The tables that are printed and that stand in docs/performance.md, made of rows."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks import composing, huge, lightning_step, training_step
from benchmarks.bars import BARS, missed
from benchmarks.rows import Row, find


@dataclass(frozen=True)
class Table:
    """A title, a header and a body of text; the first column is of names."""

    title: str
    header: list[str]
    body: list[list[str]]

    def as_text(self) -> str:
        """With columns that line up, for a terminal."""
        lines = [self.header, *self.body]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.header))]
        shown = [
            "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in cells).rstrip()
            for cells in (list(enumerate(zip(line, widths, strict=True))) for line in lines)
        ]
        return "\n".join([self.title, "", *shown])

    def as_markdown(self) -> str:
        """For a page; numbers to the right."""
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.body]
        return "\n".join([self.title, "", *("| " + " | ".join(line) + " |" for line in lines)])


def tables(rows: list[Row]) -> list[Table]:
    """All tables of a run; a `!` is beside what is above its bar."""
    of_sizes = _composing(rows, composing.SMALL_BATCHES, "M")
    of_groups = _composing(rows, composing.MANY_GROUPS, "K")
    made = [_beside_a_step(rows), of_sizes, of_groups, _huge(rows), _lightning(rows), _bars(rows)]
    return [table for table in made if table.body]


def short(value: float) -> str:
    """Three digits or so.

    Example:
        >>> [short(value) for value in (0.123, 4.56, 45.67, 456.7, 12345.6)]
        ['0.12', '4.56', '45.7', '457', '12,346']
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(row: Row | None, rows: list[Row]) -> str:
    """A value and, in brackets, its ratio; `-` where there is none."""
    if row is None:
        return "-"
    mark = "!" if any(other.key == row.key for _, other in missed(rows)) else ""
    if row.value is None:
        return (row.note or "-") + mark
    return short(row.value) + ("" if row.ratio is None else f" ({short(row.ratio)})") + mark


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row.name for row in rows))


def _beside_a_step(rows: list[Row]) -> Table:
    header = ["batch", "mixing, µs"]
    for name in training_step.NETWORKS:
        header += [f"step of {name}, µs", "mixing in % of it"]
    body = []
    for batch_size in sorted({row.batch_size for row in rows if row.measure == training_step.MEASURE}):
        mixing = find(rows, composing.MEASURE, composing.OBSERVED, num_groups=10, batch_size=batch_size)
        line = [str(batch_size), cell(mixing, []).partition(" ")[0]]
        for name in training_step.NETWORKS:
            step = find(rows, training_step.MEASURE, name, batch_size=batch_size)
            known = mixing is not None and step is not None and mixing.value and step.value
            line += [cell(step, []), short(100 * mixing.value / step.value) if known else "-"]
        body.append(line)
    title = "Mixing beside a training step: Learn2Mix, 10 groups, losses observed every step; one thread."
    return Table(title, header, body)


def _composing(rows: list[Row], shapes: Sequence[composing.Shape], swept: str) -> Table:
    of_shapes = [
        {row.name: row for row in rows if row.measure == composing.MEASURE and _is_of(row, shape)} for shape in shapes
    ]
    sizes = [shape.batch_size if swept == "M" else shape.num_groups for shape in shapes]
    body = [
        [name, *(cell(of_shape.get(name), rows) for of_shape in of_shapes)]
        for name in _names(row for of_shape in of_shapes for row in of_shape.values())
    ]
    rest = "batches of M from K = 10 groups" if swept == "M" else "batches of 1,000 from K groups"
    title = f"Composing, µs a batch (of torch's): {rest}, 60,000 samples, or as many as groups."
    return Table(title, ["", *(f"{swept} = {size:,}" for size in sizes)], body)


def _is_of(row: Row, shape: composing.Shape) -> bool:
    return (row.num_groups, row.batch_size) == (shape.num_groups, shape.batch_size)


def _huge(rows: list[Row]) -> Table:
    of_measure = [row for row in rows if row.measure == huge.MEASURE]
    sizes = sorted({row.num_samples for row in of_measure})
    body = []
    for name in _names(of_measure):
        for num_groups in sorted({row.num_groups for row in of_measure}):
            found = [find(rows, huge.MEASURE, name, num_groups=num_groups, num_samples=size) for size in sizes]
            body.append([f"{name}, {huge.UNITS[name]}, K = {num_groups:,}", *(cell(row, rows) for row in found)])
    title = "N samples, batches of 1,000 (of the time at a million samples)."
    return Table(title, ["", *(f"N = {size:,}" for size in sizes)], body)


def _lightning(rows: list[Row]) -> Table:
    of_measure = [row for row in rows if row.measure == lightning_step.MEASURE]
    body = [[row.name, cell(row, rows)] for row in of_measure]
    return Table("A Lightning step, µs (of the loop without it): 10 groups, batches of 100.", ["", "µs a step"], body)


def _bars(rows: list[Row]) -> Table:
    body = []
    for bar in BARS:
        row = bar.row(rows)
        if row is not None:
            value = row.ratio if bar.of_ratio else row.value
            unit = "of the reference" if bar.of_ratio else row.unit
            sizes = f"K = {row.num_groups:,}, M = {row.batch_size:,}, N = {row.num_samples:,}"
            measured = row.note if value is None else short(value)
            body.append([bar.name, sizes, f"{bar.most:g} {unit}", measured + ("" if bar.met(row) else "!")])
    return Table("The bars; `!` is above one.", ["", "sizes", "at most", "measured"], body)
