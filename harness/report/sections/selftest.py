"""What the gate was last seen to do on this machine class."""

from __future__ import annotations

from harness.records import SelfTest
from harness.report.sections import Page


def section(page: Page) -> SelfTest | None:
    """The self-test of the run's machine class, if it was ever made."""
    return page.run.selftest
