"""Who signed this run off, and whether what they signed is what is there."""

from __future__ import annotations

from harness.report.sections import Page
from harness.signatures import Checked


def section(page: Page) -> tuple[Checked, ...] | None:
    """The signatures as they held when the page was drawn, where there are any."""
    return page.signed or None
