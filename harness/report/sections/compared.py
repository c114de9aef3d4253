"""The place where a run that is dropped on the page is compared with this one."""

from __future__ import annotations

from harness.report.sections import Page


def section(page: Page) -> int:
    """How many cases there are to compare."""
    return len(page.rows)
