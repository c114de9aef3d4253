"""Writes the site: plain pages with relative links, which ask nothing of any network and open from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import disk
from harness.dashboard import chart, since, views
from harness.dashboard.state import CURRENT, Group, Track
from harness.errors import UsageError
from harness.foreign import visible
from harness.history.reading import Result, StoredRun
from harness.history.unstable import DEFINITION, Unstable
from harness.judge.trend import MISSING
from harness.records import KnownFailure
from harness.report import format as form
from harness.report.policy import content_policy

ROOM = 500_000
"""Bytes of the lines of one page; with all around them a page stays below 1 MB."""
MOST = 200
"""Lines of one page."""
LATEST = 20
"""Runs on the first page."""


@dataclass(frozen=True)
class Site:
    """Everything that the pages show."""

    groups: Sequence[Group]
    runs: Sequence[StoredRun]
    versions: views.Versions
    known: Sequence[KnownFailure]
    since: str
    """What things may have got worse since, in words; empty where nobody asked."""
    today: date


def write(site: Site, folder: Path) -> int:
    """Write the pages, each whole or not at all, and remove those of an earlier site that are no more; their number.

    UsageError where a file of somebody else has the name of one.
    """
    for name in _TITLES:  # before anything is written
        _check(folder / f"{name}.html")
    written = set()
    for name, text in _pages(site):
        path = folder / name
        _check(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.replace(path, text, "backslashreplace")
        written.add(path)
    for pattern in ("machines/*/*/*.html", *(f"{name}*.html" for name in _TITLES)):
        for path in set(folder.glob(pattern)) - written:
            if path.is_file() and _ours(path):
                path.unlink()
    return len(written)


def _check(path: Path) -> None:
    if path.is_file() and not _ours(path):
        raise UsageError(f"{path}: is no page of a dashboard, and would be lost; choose another folder with -o")


def _ours(path: Path) -> bool:
    return _MARK in path.read_text("utf-8", "replace")[:2000]


_TITLES = {"index": "Dashboard", "since": "Worse since", "unstable": "Unstable", "acknowledged": "Acknowledged"}
_MARK = '<meta name="generator" content="trt-harness dashboard">'


def _pages(site: Site) -> Iterator[tuple[str, str]]:
    """Names relative to the folder, and pages."""
    shown = [name for name in _TITLES if name != "since" or site.since]
    places: dict[tuple[str, str], str] = {}
    for group in site.groups:
        yield from _suite(site, group, shown, places)

    def listed(name: str, found: Sequence[Any], **more: Any) -> Iterator[tuple[str, str]]:
        rows = [_render(f"row_{name}.html", line=line, places=places) for line in found]
        yield from _paged(name, partial(_listed, name), rows, shown, **more)

    lines = [views.group_line(group) for group in site.groups]
    yield from listed("index", lines, **_overview(site, lines))
    tracks = [(group, track) for group in site.groups for track in (*group.tracks, *group.gone)]
    if site.since:
        worse = [Worse(group, track, one) for group, track in tracks for one in track.worse]
        worse.sort(key=lambda line: (since.KINDS.index(line.worse.kind), -line.worse.size, line.track.series.case))
        yield from listed(
            "since", worse, since=site.since, rule=since.RULE, count=len({id(one.track) for one in worse})
        )
    flipping = [Flipping(group, track, track.unstable) for group, track in tracks if track.unstable]
    flipping.sort(key=lambda line: (-line.unstable.flips, line.track.series.case))
    yield from listed("unstable", flipping, definition=DEFINITION, count=len(flipping))
    known = views.known_lines(site.known, site.groups, site.today)
    yield from listed("acknowledged", known, count=len(known))


def _listed(name: str, number: int) -> str:
    return f"{name}.html" if number == 1 else f"{name}-{number}.html"


@dataclass(frozen=True)
class Worse:
    """A case that got worse."""

    group: Group
    track: Track
    worse: since.Worse


@dataclass(frozen=True)
class Flipping:
    """An unstable case."""

    group: Group
    track: Track
    unstable: Unstable[Result]


def _overview(site: Site, lines: Sequence[views.GroupLine]) -> dict[str, Any]:
    return {
        "lines": lines,
        "runs": site.runs[:LATEST],
        "total": len(site.runs),
        "since": site.since,
        "unstable": sum(line.unstable for line in lines),
        "worse": sum(line.worse for line in lines),
        "known": views.known_lines(site.known, site.groups, site.today),
        "machines": len({line.group.machine for line in lines}),
        "bars": views.BARS,
    }


def _suite(
    site: Site, group: Group, shown: Sequence[str], places: dict[tuple[str, str], str]
) -> Iterator[tuple[str, str]]:
    """The pages of a suite on a machine class; notes in `places` where each case stands."""
    lines = views.case_lines(group, site.versions)
    rows = [_render("row_suite.html", line=line) for line in lines]
    folder = f"machines/{group.machine}/{group.suite}"

    def name(number: int) -> str:
        return f"{folder}/{'index' if number == 1 else number}.html"

    at = 0
    for number, some in enumerate(packed(rows), start=1):
        for line in lines[at : at + len(some)]:
            places[group.machine, line.track.series.case] = f"{quote(name(number))}#{quote(line.track.series.case)}"
        at += len(some)
    missing = any(track.changes is None for track in group.tracks)
    more = {"line": views.group_line(group), "missing": MISSING if missing else "", "current": CURRENT}
    yield from _paged("suite", name, rows, shown, title=f"{group.suite} on {group.machine}", chart=chart, **more)


def _paged(
    kind: str, name: Callable[[int], str], rows: Sequence[Markup], shown: Sequence[str], **more: Any
) -> Iterator[tuple[str, str]]:
    parts = packed(rows)
    for number, part in enumerate(parts, start=1):
        here = name(number)
        style, script = _style(), _asset("dashboard.js")
        yield (
            here,
            _render(
                f"{kind}.html",
                **{"title": _TITLES.get(kind, ""), **more},
                rows=part,
                kind=kind,
                root="../" * here.count("/"),
                number=number,
                numbers=[(other, name(other).rpartition("/")[2]) for other in range(1, len(parts) + 1)],
                shown=[(one, _TITLES[one]) for one in shown],
                style=style,
                script=script,
                policy=content_policy(style, script),
                mark=Markup(_MARK),  # noqa: S704 - our own
            ),
        )


def packed(rows: Sequence[Markup], room: int = ROOM, most: int = MOST) -> list[list[Markup]]:
    """Rows in parts of at most so many bytes and rows; one part where there is none."""
    parts: list[list[Markup]] = [[]]
    used = 0
    for row in rows:
        size = len(row.encode("utf-8", "backslashreplace"))
        if parts[-1] and (used + size > room or len(parts[-1]) == most):
            parts.append([])
            used = 0
        parts[-1].append(row)
        used += size
    return parts


def _render(template: str, **values: object) -> Markup:
    return Markup(_templates().get_template(template).render(values))  # noqa: S704 - autoescaped


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=form.number, digits=form.digits, day=chart.day, moment=_moment, percent=lambda share: f"{share:+.0%}"
    )
    environment.globals.update(width=chart.WIDTH, height=chart.HEIGHT)
    return environment


def _moment(started_s: int) -> str:
    return datetime.fromtimestamp(started_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


@cache
def _style() -> Markup:
    report = (files("harness.report") / "assets" / "report.css").read_text("utf-8")
    return Markup(report) + _asset("dashboard.css")  # noqa: S704 - our own files


@cache
def _asset(name: str) -> Markup:
    return Markup((files("harness.dashboard") / "assets" / name).read_text("utf-8"))  # noqa: S704 - our own file
