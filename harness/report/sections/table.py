"""The filter box and the table of all cases."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.rows import Row
from harness.report.sections import Page
from harness.report.statuses import Status, counted

MOST = 300
"""Rows drawn until the reader asks for more: drawing thousands on every key press is what makes reports slow."""


@dataclass(frozen=True)
class Table:
    """Every case in a line, and the statuses to choose from."""

    rows: tuple[Row, ...]
    counts: list[tuple[Status, int]]
    most: int = MOST


def section(page: Page) -> Table:
    """The table of the run."""
    return Table(rows=page.rows, counts=counted(page.run.records))
