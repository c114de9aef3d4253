"""Everything on one screen: models and shapes down, backends and precisions across."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from harness.records import PRECISIONS, Record
from harness.report.rows import Row
from harness.report.sections import Page

_BY_NAME = frozenset({"error", "failed", "missing", "skipped"})


@dataclass(frozen=True)
class Line:
    """One model at one shape; a cell is None where the suites have no such case."""

    model: str
    shape: str
    cells: tuple[Row | None, ...]


@dataclass(frozen=True)
class Block:
    """The lines of one suite."""

    suite: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Matrix:
    """Column heads as (backend, precisions), and the blocks below them."""

    heads: list[tuple[str, list[str]]]
    blocks: list[Block]
    columns: int
    by_name: frozenset[str]
    """Statuses whose cells say the status: a time beside them would be read as fine."""


def section(page: Page) -> Matrix | None:
    """The matrix of the run; nothing for an empty run."""
    records = page.run.records
    columns = sorted({_column(record) for record in records}, key=_place)
    cells = {(_line(row.record), _column(row.record)): row for row in page.rows}
    lines = dict.fromkeys(map(_line, records))
    blocks = [
        Block(suite, tuple(Line(at[1], at[2], tuple(cells.get((at, column)) for column in columns)) for at in group))
        for suite, group in groupby(sorted(lines, key=lambda at: at[0]), key=lambda at: at[0])
    ]
    heads = [(backend, [column[1] for column in group]) for backend, group in groupby(columns, key=lambda at: at[0])]
    return Matrix(heads, blocks, len(columns), _BY_NAME) if records else None


def _line(record: Record) -> tuple[str, str, str]:
    return record.case.suite, record.case.model, record.case.shape


def _column(record: Record) -> tuple[str, str]:
    return record.case.runs_on, record.case.precision


def _place(column: tuple[str, str]) -> tuple[str, int, str]:
    """Backends by name, precisions from wide to narrow, variants (fp16+own) after their precision."""
    backend, precision = column
    base = precision.partition("+")[0]
    return backend, PRECISIONS.index(base) if base in PRECISIONS else len(PRECISIONS), precision
