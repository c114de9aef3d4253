"""What earlier runs measured of each case, so that the page can draw a line through them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.records import Record, Run
from harness.report.rows import on_clock

MOST = 50
"""Runs shown; older ones are left out."""

Point = tuple[float | None, str, str, str]
"""p50 in ms, status, mark ("accepted", "acknowledged" or "") and the reason of the mark."""


@dataclass(frozen=True)
class PastRun:
    """One earlier run, as a reader tells it from others."""

    id: str
    started: str
    commit: str | None


@dataclass(frozen=True)
class Past:
    """Earlier runs, oldest first, and for each case a point a run; None where that run did not have the case."""

    runs: tuple[PastRun, ...] = ()
    cases: Mapping[str, Sequence[Point | None]] = field(default_factory=dict)

    def of(self, case: str) -> Sequence[Point | None]:
        """The points of one case; empty where no earlier run knows it."""
        return self.cases.get(case, ())


def past(run: Run, earlier: Iterable[Run]) -> Past:
    """The latest earlier runs on the machine class of `run`, by the time at which they started."""
    classes = _classes(run)
    others = {one.id: one for one in earlier if one.id != run.id and _classes(one) & classes}
    runs = sorted((one for one in others.values() if one.started < run.started), key=lambda one: one.started)[-MOST:]
    known = [{record.case.id: record for record in one.records} for one in runs]
    cases = {
        record.case.id: points
        for record in run.records
        if any(points := _points(record, [records.get(record.case.id) for records in known]))
    }
    return Past(tuple(PastRun(one.id, one.started, one.commit) for one in runs), cases)


def _classes(run: Run) -> set[str]:
    return {one.fingerprint for one in run.environments.values()}


def _points(now: Record, earlier: Sequence[Record | None]) -> list[Point | None]:
    """A point a run; where the accepted result changed since the run before, that is marked."""
    clock = now.latency.decided_on if now.latency else "host"
    points: list[Point | None] = []
    accepted: str | None = None
    for record in earlier:
        if record is None:
            points.append(None)
            continue
        digest = record.latency.baseline_digest if record.latency else None
        changed = accepted is not None and digest is not None and digest != accepted
        accepted = digest or accepted
        points.append(_point(record, clock, accepted=changed))
    return points


def _point(record: Record, clock: str, *, accepted: bool) -> Point:
    measured = on_clock(record.latency, clock)
    p50_ms = float(f"{measured.p50_ms:.4g}") if measured else None
    if record.status == "acknowledged":
        return p50_ms, record.status, "acknowledged", record.headline
    if accepted:
        return p50_ms, record.status, "accepted", "compared with another accepted result than the run before"
    return p50_ms, record.status, "", ""
