"""What changed against an earlier run."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.comparison import Change, Comparison
from harness.report.sections import Page

MOST = 200
"""Changed cases shown."""


@dataclass(frozen=True)
class Against:
    """The comparison and the part of its changes that is shown."""

    comparison: Comparison
    changes: tuple[Change, ...]
    left_out: int
    here: frozenset[str]
    """Ids that this page has a section for."""


def section(page: Page) -> Against | None:
    """The changes against the earlier run; nothing where there is none."""
    if page.comparison is None:
        return None
    changes = page.comparison.changes
    here = frozenset(row.record.case.id for row in page.rows)
    return Against(page.comparison, changes[:MOST], max(0, len(changes) - MOST), here)
