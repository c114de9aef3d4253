"""What earlier runs measured of each case, so that the page can draw a line through them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from harness.history.unstable import Unstable, footing, unstable
from harness.judge.latency import incomparable
from harness.records import Environment, Latency, Record, Run
from harness.report.format import time_of
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
class Verdict:
    """What one run decided on a case."""

    record: Record
    environment: Environment

    @property
    def place(self) -> tuple[str, str]:
        """The machine class and the case."""
        return self.environment.fingerprint, self.record.case.id

    @property
    def status(self) -> str:
        """As the record says."""
        return self.record.status

    @property
    def footing(self) -> str:
        """What the case was made of; worked out where it is asked for, which is seldom."""
        return footing(self.record, self.environment)


@dataclass(frozen=True)
class Past:
    """Earlier runs, oldest first, and for each case a point a run; None where that run lacks it, or timed otherwise."""

    runs: tuple[PastRun, ...] = ()
    cases: Mapping[str, Sequence[Point | None]] = field(default_factory=dict)
    unstable: Mapping[str, Unstable[Verdict]] = field(default_factory=dict)
    """Cases that change their verdict although nothing that they are made of changed, by all runs and this one."""

    def of(self, case: str) -> Sequence[Point | None]:
        """The points of one case; empty where no earlier run knows it."""
        return self.cases.get(case, ())


def past(run: Run, earlier: Iterable[Run]) -> Past:
    """The latest earlier runs on the machine class of `run`, by the time at which they started."""
    classes = _classes(run)
    others = {one.id: one for one in earlier if one.id != run.id and _classes(one) & classes}
    runs = sorted((one for one in others.values() if _started(one) < _started(run)), key=_started)
    if not runs:
        return Past()
    known = [{found.place: found for found in _verdicts(one)} for one in runs]
    cases, flipping = {}, {}
    for now in _verdicts(run):
        then = [found.get(now.place) for found in known]
        if any(points := _points(now.record, [one.record if one else None for one in then[-MOST:]])):
            cases[now.record.case.id] = points
        if found := unstable([*filter(None, then), now]):
            flipping[now.record.case.id] = found
    return Past(tuple(PastRun(one.id, one.started, one.commit) for one in runs[-MOST:]), cases, flipping)


def _started(run: Run) -> datetime:
    """When a run started; one that does not tell it, before all others."""
    return time_of(run.started) or datetime.min.replace(tzinfo=UTC)


def _verdicts(run: Run) -> Iterator[Verdict]:
    return (Verdict(record, run.environments[record.environment]) for record in run.records)


def _classes(run: Run) -> set[str]:
    return {one.fingerprint for one in run.environments.values()}


def _points(now: Record, earlier: Sequence[Record | None]) -> list[Point | None]:
    """A point a run; where the accepted result changed since the run before, that is marked."""
    clock = now.latency.decided_on if now.latency else "host"
    points: list[Point | None] = []
    accepted: str | None = None
    for record in earlier:
        if record is None or _timed_otherwise(now.latency, record.latency):
            points.append(None)
            continue
        digest = record.latency.baseline_digest if record.latency else None
        changed = accepted is not None and digest is not None and digest != accepted
        accepted = digest or accepted
        points.append(_point(record, clock, accepted=changed))
    return points


def _timed_otherwise(now: Latency | None, then: Latency | None) -> bool:
    """Whether their times are never compared, so that a line from one to the other would say what is not so."""
    if now is None or then is None or (now.settings, now.decided_on) == (then.settings, then.decided_on):
        return False
    return incomparable(now, then) is not None


def _point(record: Record, clock: str, *, accepted: bool) -> Point:
    measured = on_clock(record.latency, clock)
    p50_ms = float(f"{measured.p50_ms:.4g}") if measured else None
    if record.status == "acknowledged":
        return p50_ms, record.status, "acknowledged", record.headline
    if accepted:
        return p50_ms, record.status, "accepted", "compared with another accepted result than the run before"
    return p50_ms, record.status, "", ""
