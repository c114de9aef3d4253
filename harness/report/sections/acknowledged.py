"""The known failures: those that are let through, those that block all the same, and those of no use any more."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import KnownFailure
from harness.report.sections import Page
from harness.report.statuses import Status


@dataclass(frozen=True)
class Line:
    """One entry of the reviewed file and what became of it; `status` is None where the run does not have the case."""

    known: KnownFailure
    status: Status | None
    words: str


@dataclass(frozen=True)
class Acknowledged:
    """The entries that this run had to do with, what blocks first."""

    lines: tuple[Line, ...]


def section(page: Page) -> Acknowledged | None:
    """The acknowledgements of the run, where there are any."""
    found = [
        Line(one.known, row.status, one.refused or f"{one.status}, accepted until then")
        for row in page.rows
        if (one := row.record.acknowledgement) is not None
    ]
    statuses = {row.record.case.id: row.status for row in page.rows}
    found += [Line(one.known, statuses.get(one.known.case), one.words) for one in page.run.stale]
    return Acknowledged(tuple(found)) if found else None
