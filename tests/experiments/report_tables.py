"""The report's tables of stored runs, and what stands in them."""

from experiments.report.collect import collect
from experiments.report.sections import Section
from experiments.report.tables import Table, section_tables
from made_up import write


def section_of(folder, *records: dict) -> Section:
    write(folder, *records)
    (section,), _ = collect([folder])
    return section


def named(section: Section, title: str) -> Table | None:
    """The section's table of this title, if it has one."""
    return next((table for table in section_tables(section) if table.title == title), None)


def cell(table: Table, row: str, column: str) -> str:
    return table.cells.loc[row, column]


def rows(table: Table) -> list[tuple[str, ...]]:
    return [tuple(row) for row in table.cells.itertuples()]
