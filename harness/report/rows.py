"""What every view shows of one case in a line: its latency, the change of it, and its tightest accuracy check."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from harness.records import Check, Latency, Quantiles, Record
from harness.report.statuses import STATUS, Status

ACCURACY = frozenset({"fidelity", "budget", "task"})
"""Questions that are about the values of outputs."""


@dataclass(frozen=True)
class Row:
    """One case in a line; `ratio` is p50 over the baseline's p50 on the same clock."""

    record: Record
    status: Status
    clock: str | None
    p50_ms: float | None
    baseline_p50_ms: float | None
    ratio: float | None
    worst: Check | None

    @property
    def about_latency(self) -> bool:
        """Whether the status may come from the change of latency."""
        return self.status.name in {"regressed", "inconclusive", "improved"}


def rows(records: Iterable[Record]) -> tuple[Row, ...]:
    """One row a record, what blocks first; within a status the order of the run stays."""
    return tuple(sorted(map(row, records), key=lambda row: row.status.rank))


def row(record: Record) -> Row:
    """The line of one record."""
    clock = record.latency.decided_on if record.latency else None
    now = on_clock(record.latency, clock)
    before = on_clock(record.baseline, clock)
    return Row(
        record=record,
        status=STATUS[record.status],
        clock=clock if now else None,
        p50_ms=now.p50_ms if now else None,
        baseline_p50_ms=before.p50_ms if before else None,
        ratio=_ratio(now, before),
        worst=worst(record.checks),
    )


def _ratio(now: Quantiles | None, before: Quantiles | None) -> float | None:
    """None where one is not there, or so small that the quotient is no number."""
    if now is None or before is None or before.p50_ms <= 0:
        return None
    ratio = now.p50_ms / before.p50_ms
    return ratio if math.isfinite(ratio) else None


def on_clock(latency: Latency | None, clock: str | None) -> Quantiles | None:
    """The quantiles that one clock measured; None where that clock did not run."""
    if latency is None or clock not in ("host", "gpu"):
        return None
    return latency.gpu if clock == "gpu" else latency.host


def worst(checks: Iterable[Check]) -> Check | None:
    """The accuracy check that fails by most, or else the one nearest to its limit."""
    accuracy = [check for check in checks if check.question in ACCURACY]
    return max(accuracy, key=lambda check: (not check.ok, used(check)), default=None)


def label(check: Check) -> str:
    """The name of a check with its output, where the name does not hold it already."""
    return f"{check.output}/{check.name}" if check.output and check.output not in check.name else check.name


def used(check: Check) -> float:
    """The share of a limit that is used up; above 1 it is broken."""
    value, limit = check.value, check.limit
    if value is None or limit is None:
        return 0.0 if check.ok else math.inf
    if value == limit == 0:  # a count that must be zero and is: nothing is near to failing
        return 0.0
    if not higher_is_better(check):
        return value / limit if limit > 0 else 1.0 if check.ok else math.inf
    if 0 <= value <= 1 and limit < 1:  # cosine and agreement: what counts is the distance from 1
        return (1 - value) / (1 - limit)
    return limit / value if value > 0 else math.inf


def higher_is_better(check: Check) -> bool | None:
    """The direction of a metric as the decision itself tells it; None when value and limit do not."""
    if check.value is None or check.limit is None or check.value == check.limit:
        return None
    return (check.value > check.limit) == check.ok
