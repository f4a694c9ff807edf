"""Writes the figures into docs/performance.md, between two markers, from the stored results."""

from pathlib import Path
from typing import Any

from benchmarks import composing, peers, training_step
from benchmarks.picture import draw
from benchmarks.rows import Row, find
from benchmarks.tables import short, tables

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- figures: begin, written by `make benchmark` -->", "<!-- figures: end -->"
PICTURE = """<picture>
<source media="(max-width: 700px)" srcset="pictures/performance-narrow.svg">
<img alt="Microseconds a batch against its size, the number of groups and the number of samples, beside a training step"
src="pictures/performance-wide.svg">
</picture>"""


def write_page(docs: Path, environment: dict[str, Any], rows: list[Row]) -> None:
    """Bring the page and the picture up to these figures."""
    page = docs / "performance.md"
    before, begin, rest = page.read_text(encoding="utf8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page} must have the lines {BEGIN} and {END}, between which the figures go")
    page.write_text(f"{before}{BEGIN}\n{figures(environment, rows)}\n{END}{after}", encoding="utf8")
    draw(rows, docs / "pictures")


def figures(environment: dict[str, Any], rows: list[Row]) -> str:
    """What stands between the markers."""
    parts = [headline(rows), PICTURE, *(table.as_markdown() for table in tables(rows)), *missing(rows)]
    return "\n\n".join(part for part in [*parts, machine(environment)] if part)


def headline(rows: list[Row]) -> str:
    """The answer in a sentence, for a batch of 1,000."""
    mixing = find(rows, composing.MEASURE, composing.OBSERVED, num_groups=10, batch_size=1000)
    steps = [find(rows, training_step.MEASURE, name, batch_size=1000) for name in training_step.NETWORKS]
    if mixing is None or None in steps:
        return ""
    mlp, lenet = (100 * mixing.value / step.value for step in steps)
    return (
        f"Composing a batch of 1,000 and moving the mix by its losses takes {short(mixing.value)} µs: "
        f"{short(mlp)} % of a training step of an MLP 784-64-10 on one core, {short(lenet)} % of one of LeNet-5."
    )


def missing(rows: list[Row]) -> list[str]:
    """A sentence on the peers that were not installed."""
    packages = sorted({peer.package for peer in peers.PEERS for row in rows if row.name == peer.name and row.note})
    if not packages:
        return []
    return [f'Not installed here: {", ".join(packages)} (`pip install -e ".[benchmark-peers]"`).']


def machine(environment: dict[str, Any]) -> str:
    """What it was measured on."""
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    cores = f", of which cores {environment['cores']} were used" if "cores" in environment else ""
    return (
        f"Measured on {environment['processor']} ({environment['machine']}, {environment['cpus']} cores{cores}; "
        f"{environment.get('scheduling', 'ordinary')} scheduling, {environment['threads']} thread), {versions}, "
        f"commit {environment['commit']}."
    )
