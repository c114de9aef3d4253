"""What the lines of the pages say, worked out before a template draws them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from harness.dashboard.chart import COMMIT, Chart, chart, day
from harness.dashboard.state import Group, Track
from harness.history.unstable import BLOCKS
from harness.records import STATUSES, KnownFailure
from harness.report.statuses import STATUS, Status

BARS = 30
"""Runs in the strip of a suite."""
SOON_DAYS = 14
"""An acknowledgement that expires within so many days is marked."""
Versions = Mapping[int, Mapping[str, str]]


@dataclass(frozen=True)
class CaseLine:
    """A case on the page of its suite."""

    track: Track
    status: Status
    chart: Chart
    since: str
    """The day on which its status began, and how many runs ago."""
    commit: str


@dataclass(frozen=True)
class Bar:
    """One run of a suite: the share of its cases that blocked."""

    place: int
    share: float
    ended: bool
    words: str

    @property
    def height(self) -> float:
        """Of the strip's 32; one case of many that blocks is seen as well."""
        return round(8 + 24 * math.sqrt(self.share), 1) if self.share else 4


@dataclass(frozen=True)
class GroupLine:
    """A suite on a machine class, on the first page."""

    group: Group
    counts: list[tuple[Status, int]]
    blocking: int
    unstable: int
    slower: int
    """Cases with a step to slower times within the runs of the strip."""
    worse: int
    bars: list[Bar]
    commit: str


@dataclass(frozen=True)
class KnownLine:
    """An acknowledged failure, and where it occurs."""

    known: KnownFailure
    tone: str
    words: str
    """How long it still holds."""
    found: list[tuple[str, Status]]
    """Machine classes and the states there."""


def case_lines(group: Group, versions: Versions) -> list[CaseLine]:
    """The cases of a suite: what blocks first, then what changed its speed or its verdict without a reason."""
    lines = [
        CaseLine(track, STATUS[track.latest.status], chart(group, track, versions), _since(track), _commit(track))
        for track in group.tracks
    ]
    return sorted(lines, key=_place)


def _place(line: CaseLine) -> tuple[int, bool, bool, str]:
    track = line.track
    return line.status.rank, track.unstable is None, not track.changes, track.series.case


def _since(track: Track) -> str:
    streak = 0
    for one in reversed(track.results):
        if one.status != track.latest.status:
            break
        streak += 1
    first = track.results[-streak]
    if streak == len(track.results):
        return f"in all {streak} runs" if streak > 1 else "first run"
    return f"since {day(first.started_s)}, {streak} run{'s' * (streak > 1)}"


def _commit(track: Track) -> str:
    return (track.latest.commit or "")[:COMMIT]


def group_line(group: Group) -> GroupLine:
    """The state of a suite on a machine class in a line."""
    counts = Counter(track.latest.status for track in group.tracks)
    recent = {run for _, run in group.runs[-BARS:]}
    newest = group.runs[-1][1]
    commits = (one.commit for track in group.tracks for one in track.results[-1:] if one.run == newest)
    return GroupLine(
        group=group,
        counts=[(STATUS[name], counts[name]) for name in STATUSES if counts[name]],
        blocking=sum(count for name, count in counts.items() if STATUS[name].blocks),
        unstable=sum(track.unstable is not None for track in group.tracks),
        slower=sum(any(one.change > 0 and one.run in recent for one in track.changes or ()) for track in group.tracks),
        worse=sum(bool(track.worse) for track in (*group.tracks, *group.gone)),
        bars=_bars(group),
        commit=(next(commits, None) or "")[:COMMIT],
    )


def _bars(group: Group) -> list[Bar]:
    shown = group.runs[-BARS:]
    blocked: Counter[str] = Counter()
    had: Counter[str] = Counter()
    unfinished = set()
    for track in (*group.tracks, *group.gone):
        for one in track.results:
            had[one.run] += 1
            blocked[one.run] += one.status in BLOCKS and one.status != "acknowledged"
            if not one.ended:
                unfinished.add(one.run)
    return [
        Bar(
            place + BARS - len(shown),
            blocked[run] / had[run],
            run not in unfinished,
            f"{day(started_s)}: {blocked[run]} of {had[run]} block{', interrupted' * (run in unfinished)}",
        )
        for place, (started_s, run) in enumerate(shown)
    ]


def known_lines(known: Sequence[KnownFailure], groups: Sequence[Group], today: date) -> list[KnownLine]:
    """Acknowledged failures with the states of their cases, the next to expire first."""
    tracks = {
        (track.series.case, group.machine): STATUS[track.latest.status] for group in groups for track in group.tracks
    }
    lines = []
    for one in sorted(known, key=lambda one: (one.until, one.case)):
        left = (date.fromisoformat(one.until) - today).days
        words = f"expired {_days(-left)} ago" if left < 0 else f"{_days(left)} left" if left else "last day"
        tone = "bad" if left < 0 else "warn" if left <= SOON_DAYS else "idle"
        found = [(on, status) for (case, on), status in tracks.items() if case == one.case and one.machine in ("", on)]
        lines.append(KnownLine(one, tone, words, found))
    return lines


def _days(count: int) -> str:
    return f"{count} day{'s' * (count != 1)}"
