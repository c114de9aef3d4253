"""Two latency distributions on one axis, small enough to stand beside a table."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records import Quantiles
from harness.report.rows import Row, on_clock


@dataclass(frozen=True)
class Bar:
    """One distribution; places are percent of the width."""

    whose: str
    p50: float
    p90: float | None
    p99: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Strip:
    """The bars and the two ends of their axis."""

    bars: tuple[Bar, ...]
    first_ms: float
    last_ms: float


def strip(row: Row) -> Strip | None:
    """This run above its baseline on the clock that decides; None without a latency."""
    now = on_clock(row.record.latency, row.clock)
    before = on_clock(row.record.baseline, row.clock)
    shown = [(whose, found) for whose, found in (("now", now), ("baseline", before)) if found]
    if not shown or now is None:
        return None
    first = min(min(found.ci95_ms[0], found.p50_ms) for _, found in shown)
    last = max(max(found.ci95_ms[1], found.p99_ms or found.p50_ms) for _, found in shown)
    margin = (last - first) * 0.04 or 0.01 * last or 1.0
    first, last = max(0.0, first - margin), last + margin
    return Strip(tuple(_bar(whose, found, first, last) for whose, found in shown), first, last)


def _bar(whose: str, found: Quantiles, first: float, last: float) -> Bar:
    def place(value_ms: float) -> float:
        return round((value_ms - first) / (last - first) * 100, 2)

    low, high = found.ci95_ms
    p90, p99 = (None if value is None else place(value) for value in (found.p90_ms, found.p99_ms))
    return Bar(whose, place(found.p50_ms), p90, p99, place(low), place(high))
