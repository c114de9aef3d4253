"""What a reader must know first: the cases that block, then the others that are not simply passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.history.unstable import Unstable
from harness.records import Check
from harness.report.rows import Row
from harness.report.sections import Page
from harness.report.statuses import CHANGED, STATUS, Status
from harness.report.trend import Verdict

MOST = 100
"""Cases shown of one status; the table further down has all of them."""


@dataclass(frozen=True)
class Group:
    """The cases of one status; `left_out` counts those not shown."""

    status: Status
    rows: tuple[Row, ...]
    left_out: int

    def failing(self, row: Row) -> list[Check]:
        """The checks that speak against a case, as far as its headline does not already say so."""
        return [check for check in row.record.checks if not check.ok and check.reason not in row.record.headline]


@dataclass(frozen=True)
class Changes:
    """Blocking groups and the others."""

    blocking: list[Group]
    others: list[Group]
    quiet: int
    """Cases that passed or were skipped."""
    unstable: Mapping[str, Unstable[Verdict]]
    """Cases whose verdict changes by itself, by their ids."""


def section(page: Page) -> Changes:
    """The changes of the run, in reading order."""
    groups = [_group(page, status) for status in STATUS.values()]
    blocking = [group for group in groups if group.rows and group.status.blocks]
    others = [group for group in groups if group.rows and group.status.name in CHANGED]
    shown = sum(len(group.rows) + group.left_out for group in blocking + others)
    return Changes(blocking=blocking, others=others, quiet=len(page.rows) - shown, unstable=page.past.unstable)


def _group(page: Page, status: Status) -> Group:
    found = tuple(row for row in page.rows if row.status.name == status.name)
    return Group(status=status, rows=found[:MOST], left_out=max(0, len(found) - MOST))
