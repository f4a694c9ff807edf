"""What is measured is a list of rows; everything that is printed, drawn or checked is made of them."""

import csv
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "benchmark.json"


@dataclass(frozen=True)
class Row:
    """One figure: of which measure (a part of the benchmark), of whom, at which size."""

    measure: str
    name: str
    num_groups: int
    batch_size: int
    num_samples: int
    value: float | None  # None where there is none; the note says why
    unit: str
    ratio: float | None = None  # to the measure's reference, which took turns with it in the same process
    note: str = ""

    @property
    def key(self) -> tuple[str, str, int, int, int]:
        """What the row is of; no two rows of one run have the same."""
        return self.measure, self.name, self.num_groups, self.batch_size, self.num_samples


def find(rows: list[Row], measure: str, name: str, **sizes: int) -> Row | None:
    """The row of a measure, a name and some sizes; None where nothing was measured."""
    for row in rows:
        if (row.measure, row.name) == (measure, name) and all(getattr(row, key) == sizes[key] for key in sizes):
            return row
    return None


def save(path: Path, environment: dict[str, Any], rows: list[Row]) -> None:
    """Write the rows as JSON, with the machine that they are of, and beside it as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [json.dumps(asdict(row)) for row in rows]  # a line each, so that a rerun reads well as a diff
    text = f'{{"environment": {json.dumps(environment)},\n"rows": [\n' + ",\n".join(written) + "\n]}\n"
    path.write_text(text, encoding="utf8")
    with path.with_suffix(".csv").open("w", newline="", encoding="utf8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """The machine and the rows of :func:`save`."""
    stored = json.loads(path.read_text(encoding="utf8"))
    return stored["environment"], [Row(**row) for row in stored["rows"]]
