"""cases.csv: one row a case, for spreadsheets and data frames."""

from __future__ import annotations

import re
from csv import DictWriter
from io import StringIO
from typing import Any

from harness.foreign import plain
from harness.records import Run
from harness.report.rows import Row, on_clock, row

COLUMNS = (
    *("id", "suite", "model", "backend", "precision", "shape", "status", "headline"),
    *("clock", "p50_ms", "p90_ms", "p99_ms", "baseline_p50_ms", "ratio"),
    *("worst_check", "worst_output", "worst_value", "worst_limit", "worst_ok", "worst_reason", "error_kind"),
)


_FORMULA = re.compile(r"(^|[;|] ?)(?=[=+\-@＝＋－＠])")  # noqa: RUF001 - spreadsheets know wide signs too
"""Where a spreadsheet would begin a formula: at the start, or behind what may separate its cells."""


def csv(run: Run) -> str:
    """The cases of a run as comma-separated values, in the order of the run."""
    # not pandas: importing it for this one table takes longer than the rest of a report, and 45 MiB of the parent
    text = StringIO()
    table = DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows({name: _inert(value) for name, value in _cells(row(record)).items()} for record in run.records)
    return text.getvalue()


def _cells(row: Row) -> dict[str, Any]:
    case, worst = row.record.case, row.worst
    now = on_clock(row.record.latency, row.clock)
    return {
        **{name: getattr(case, name) for name in COLUMNS[:6]},
        "precision": case.built_as,
        "status": row.status.name,
        "headline": row.record.headline,
        "clock": row.clock,
        "p50_ms": row.p50_ms,
        "p90_ms": now.p90_ms if now else None,
        "p99_ms": now.p99_ms if now else None,
        "baseline_p50_ms": row.baseline_p50_ms,
        "ratio": row.ratio,
        **{f"worst_{name}": getattr(worst, name, None) for name in ("output", "value", "limit", "ok", "reason")},
        "worst_check": worst.name if worst else None,
        "error_kind": row.record.error.kind if row.record.error else None,
    }


def _inert(value: Any) -> Any:
    """Text as one line, with an apostrophe before what a spreadsheet would take for a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    # one row of the file is one row of the table, also for tools that split at line ends
    return _FORMULA.sub(r"\1'", plain(value))
