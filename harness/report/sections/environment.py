"""The machines that cases ran on, with their versions."""

from __future__ import annotations

from collections.abc import Mapping

from harness.records import Environment
from harness.report.sections import Page


def section(page: Page) -> Mapping[str, Environment]:
    """The environments of the run by key."""
    return page.run.environments
