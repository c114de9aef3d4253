"""Accuracy against latency against size, a model at a time; the page's script fills it."""

from __future__ import annotations

from harness.report.sections import Page


def section(page: Page) -> int | None:
    """How many models and shapes have several builds that were timed; nothing without any."""
    return len(page.tradeoffs) or None
