"""Reads what the site shows: of each machine class and suite the cases that its latest runs have, with their past."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from sqlalchemy import Connection

from harness.dashboard.since import Worse, worse
from harness.history import reading
from harness.history.reading import Result, Series
from harness.history.unstable import Unstable, unstable
from harness.judge.screen import suspicious_from
from harness.judge.trend import ChangePoint, Point, change_points, points
from harness.records import LatencyPlan

DRAWN = 60
"""Results of a case that a trend shows."""
CURRENT = 20
"""Runs of a suite on a machine class of which one must have a case, for it to be shown."""
MARGIN = suspicious_from(LatencyPlan())
"""The smallest change point."""


@dataclass(frozen=True)
class Track:
    """A case on a machine class: its results, oldest first, and what they say."""

    series: Series
    results: tuple[Result, ...]
    trend: tuple[Point, ...] = ()
    """The times since it is timed as it is now."""
    unit: str = "ms"
    changes: tuple[ChangePoint, ...] | None = ()
    """None where the library that finds them is not here."""
    unstable: Unstable[Result] | None = None
    worse: tuple[Worse, ...] = ()
    accepted: Mapping[str, str] = field(default_factory=dict)
    """Runs that were accepted, by their ids, and why."""

    @property
    def latest(self) -> Result:
        """Its newest result."""
        return self.results[-1]


@dataclass(frozen=True)
class Group:
    """A suite on a machine class, and its latest runs, oldest first, as times and ids."""

    machine: str
    suite: str
    runs: tuple[tuple[int, str], ...]
    tracks: tuple[Track, ...]
    gone: tuple[Track, ...]
    """Cases that none of the latest runs has."""


Accepted = Callable[[str, str], Mapping[str, Mapping[str, str]]]
"""Machine class and suite to case to what was accepted: run to words."""


def nothing_accepted(_machine: str, _suite: str) -> Mapping[str, Mapping[str, str]]:
    """Where no baselines are at hand."""
    return {}


def collect(
    connection: Connection, since_s: int | None = None, accepted: Accepted = nothing_accepted
) -> Iterator[Group]:
    """The groups, by machine class and suite; `since_s` is the time since which things may have got worse."""
    for (machine, suite), some in groupby(reading.series(connection), key=lambda one: (one.machine, one.suite)):
        words = accepted(machine, suite)
        pairs = [(one, tuple(reading.trend(connection, one.key, last=DRAWN))) for one in some]
        pairs = [(one, results) for one, results in pairs if results]  # an unfinished run may have had more
        if pairs:
            yield _group(connection, machine, suite, pairs, since_s, words)


def _group(
    connection: Connection,
    machine: str,
    suite: str,
    pairs: Sequence[tuple[Series, tuple[Result, ...]]],
    since_s: int | None,
    accepted: Mapping[str, Mapping[str, str]],
) -> Group:
    runs = sorted({(result.started_s, result.run) for _, results in pairs for result in results})[-DRAWN:]
    current = {run for _, run in runs[-CURRENT:]}
    ran = since_s is not None and runs[-1][0] > since_s
    tracks: list[Track] = []
    gone: list[Track] = []
    for one, results in pairs:
        shown = results[-1].run in current
        track = _track(one, results, accepted.get(one.case, {})) if shown else Track(one, results)
        if since_s is not None:
            then = reading.trend(connection, one.key, last=DRAWN, until_s=since_s)
            now = [result for result in results if result.started_s > since_s]
            track = replace(track, worse=tuple(worse(one.case, then, now, suite_ran=ran)))
        (tracks if shown else gone).append(track)
    return Group(machine, suite, tuple(runs), tuple(tracks), tuple(gone))


def _track(one: Series, results: tuple[Result, ...], accepted: Mapping[str, str]) -> Track:
    timed = [(result.run, result.p10_ms or result.p50_ms, result.canary_ms) for result in _alike(results)]
    trend, unit = points([(run, ms, canary_ms) for run, ms, canary_ms in timed if ms], ())
    return Track(one, results, trend, unit, change_points(trend, MARGIN), unstable(results), (), accepted)


def _alike(results: Sequence[Result]) -> list[Result]:
    """The timed results since the case is timed as it is now."""
    timed = [one for one in results if one.p50_ms]
    other = [place for place, one in enumerate(timed) if one.method != timed[-1].method]
    return timed[other[-1] + 1 :] if other else timed
