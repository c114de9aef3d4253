"""The table of all cases, which the page's script fills as they are seen."""

from __future__ import annotations

from harness.report.sections import Page


def section(page: Page) -> int:
    """How many cases there are."""
    return len(page.rows)
