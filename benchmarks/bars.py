"""What the library promises to stay below; the tables mark what does not."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks import composing, huge, lightning_step
from benchmarks.rows import Row, find


@dataclass(frozen=True)
class Bar:
    """The most that a row's value, or its ratio to the measure's reference, may be."""

    measure: str
    name: str
    most: float
    of_ratio: bool = False
    sizes: dict[str, int] = field(default_factory=dict)

    def row(self, rows: list[Row]) -> Row | None:
        """The row that the bar is for; None if it was not measured."""
        return find(rows, self.measure, self.name, **self.sizes)

    def met(self, row: Row) -> bool:
        """Whether a row is within the bar; one without a value took too long to have one."""
        value = row.ratio if self.of_ratio else row.value
        return value is not None and value <= self.most


def _composing(name: str, most: float, num_groups: int, batch_size: int, *, of_ratio: bool = False) -> Bar:
    return Bar(composing.MEASURE, name, most, of_ratio, {"num_groups": num_groups, "batch_size": batch_size})


def _huge(name: str, most: float, num_samples: int, num_groups: int, *, of_ratio: bool = False) -> Bar:
    return Bar(huge.MEASURE, name, most, of_ratio, {"num_groups": num_groups, "num_samples": num_samples})


def _huge_bars() -> Iterator[Bar]:
    for num_groups in huge.GROUPS:
        for num_samples in huge.SIZES:
            yield _huge(huge.FIRST, 20, num_samples, num_groups)
        yield _huge(huge.STEADY, 1.3, 10**9, num_groups, of_ratio=True)
        yield _huge(huge.MEMORY, 50, 10**9, num_groups)
        yield _huge(huge.BUILD, 6, 10**8, num_groups)
        yield _huge(huge.KEPT, 450, 10**8, num_groups)


BARS = (
    _composing(composing.GROUPED, 6, 10, 32),
    _composing(composing.GROUPED, 0.45, 10, 1000, of_ratio=True),
    _composing(composing.GROUPED, 1.5, 10_000, 1000, of_ratio=True),
    _composing(composing.GROUPED, 1000, 100_000, 1000),
    _composing(composing.SHUFFLED, 7, 10, 32),
    _composing(composing.SHUFFLED, 0.6, 10, 1000, of_ratio=True),
    _composing(composing.SHUFFLED, 1.65, 10_000, 1000, of_ratio=True),
    _composing(composing.OBSERVED, 19, 10, 32),
    _composing(composing.OBSERVED, 45, 10, 1000),
    _composing(composing.OBSERVED, 210, 10_000, 1000),
    Bar(lightning_step.MEASURE, f"{lightning_step.ADDED}, no logger", 120),
    *_huge_bars(),
)


def missed(rows: list[Row], bars: tuple[Bar, ...] = BARS) -> list[tuple[Bar, Row]]:
    """The bars that a row is above, each with the row; what was not measured misses none."""
    found = [(bar, bar.row(rows)) for bar in bars]
    return [(bar, row) for bar, row in found if row is not None and not bar.met(row)]
