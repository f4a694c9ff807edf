"""Which tables a section has, in their order."""

from __future__ import annotations

from experiments.report.balanced import balanced_table
from experiments.report.results import Section
from experiments.report.tables import (
    Table,
    error_table,
    group_table,
    per_group_table,
    published_table,
    rate_table,
    ratio_table,
    time_table,
)


def section_tables(section: Section) -> list[Table]:
    """All tables of a section."""
    if not section.trained:
        return [error_table(section)]
    tables = (
        error_table(section),
        ratio_table(section),
        published_table(section),
        group_table(section),
        balanced_table(section),
        per_group_table(section),
        rate_table(section),
        time_table(section),
    )
    return [table for table in tables if table is not None]
