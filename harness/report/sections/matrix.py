"""Everything on one screen: models and shapes down, backends and precisions across; the page's script fills it."""

from __future__ import annotations

from harness.report.sections import Page


def section(page: Page) -> int | None:
    """How many cases there are; nothing for an empty run."""
    return len(page.rows) or None
