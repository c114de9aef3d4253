"""The sections of the report: each a file here, a line in the table, and a template of the same name.

A section is a function from a `Page` to the data of its template, or None where it has nothing to show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from markupsafe import Markup

from harness.records import Run
from harness.registry import Registry
from harness.report.comparison import Comparison
from harness.report.rows import Row
from harness.report.tradeoffs import Tradeoff, weigh
from harness.report.trend import Past
from harness.signatures import Checked


@dataclass(frozen=True)
class Page:
    """What sections draw from; rows stand in reading order, what blocks first."""

    run: Run
    rows: tuple[Row, ...]
    comparison: Comparison | None
    render: Callable[..., Markup]
    signed: tuple[Checked, ...] = ()
    past: Past = field(default_factory=Past)

    @cached_property
    def tradeoffs(self) -> tuple[Tradeoff, ...]:
        """Of every model of which several builds were timed."""
        return weigh(self.run, self.rows)


SECTIONS = Registry(
    "report section",
    {
        "banner": "harness.report.sections.banner:section",
        "changes": "harness.report.sections.changes:section",
        "signoff": "harness.report.sections.signoff:section",
        "acknowledged": "harness.report.sections.acknowledged:section",
        "against": "harness.report.sections.against:section",
        "compared": "harness.report.sections.compared:section",
        "tradeoffs": "harness.report.sections.tradeoffs:section",
        "matrix": "harness.report.sections.matrix:section",
        "table": "harness.report.sections.table:section",
        "selftest": "harness.report.sections.selftest:section",
        "environment": "harness.report.sections.environment:section",
    },
)
"""In the order of the page."""
