"""The trend of one case as the parts of a small drawing: places for the template, words for those who do not see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from harness import stats
from harness.dashboard.state import DRAWN, Group, Track
from harness.foreign import plain
from harness.history.reading import Result
from harness.history.unstable import BLOCKS

WIDTH, HEIGHT = 300, 52
EDGE = 4
"""Room for half a mark."""
LEAST = 0.05
"""A trend spans at least so much about its median, so that noise does not look like change."""
FAR = 3.0
"""Times that are further from the median than so many times what nine of ten keep are drawn at the edge."""
COMMIT = 10
WORDS = 300
"""Characters of what a change point says."""

Place = tuple[float, float]


@dataclass(frozen=True)
class Step:
    """A change point: where it stands, and in words what changed with it."""

    x: float
    slower: bool
    words: str


@dataclass(frozen=True)
class Mark:
    """A run that something is to be said of."""

    x: float
    y: float
    words: str


@dataclass(frozen=True)
class Chart:
    """A trend; `low` and `high` are the ends of its axis relative to the median."""

    lines: tuple[str, ...]
    dots: tuple[Place, ...]
    """Times without neighbours, and the latest."""
    far: tuple[Mark, ...]
    levels: tuple[tuple[float, float, float], ...]
    """From x to x at y: the median between two changes."""
    steps: tuple[Step, ...]
    accepted: tuple[Mark, ...]
    blocks: tuple[Mark, ...]
    low: float
    high: float
    summary: str


def chart(group: Group, track: Track, versions: Mapping[int, Mapping[str, str]]) -> Chart:
    """The trend of a case over the runs of its group, so that all cases of a page share the axis of runs."""
    shown = group.runs[-DRAWN:]
    columns = {run: EDGE + (WIDTH - 2 * EDGE) * (place + 0.5) / len(shown) for place, (_, run) in enumerate(shown)}
    results = {one.run: one for one in track.results if one.run in columns}
    times = {point.run: point.value for point in track.trend if point.run in columns}
    middle = stats.median(sorted(times.values())) if times else 1.0
    relative = {run: value / middle - 1 for run, value in times.items()}
    low, high = _span(list(relative.values()))
    places = {run: (columns[run], _y(value, low, high)) for run, value in relative.items()}
    steps = tuple(_steps(track, columns, results, versions))
    off = {run for run, value in relative.items() if not low <= value <= high}
    return Chart(
        lines=tuple(_lines([run for _, run in shown], places)),
        dots=tuple(_dots([run for _, run in shown], places)),
        far=tuple(Mark(*places[run], f"{relative[run]:+.0%}") for run in sorted(off)),
        levels=tuple(_levels(track, places, low, high, middle)),
        steps=steps,
        accepted=tuple(
            Mark(columns[run], HEIGHT - EDGE, words) for run, words in track.accepted.items() if run in columns
        ),
        blocks=tuple(_blocks(results.values(), columns, places)),
        low=low,
        high=high,
        summary=_summary(track, relative, steps),
    )


def _span(values: Sequence[float]) -> tuple[float, float]:
    """The ends of the axis: what nine of ten keep, some times over, and never less than the least."""
    if not values:
        return -LEAST, LEAST
    typical = stats.quantile(sorted(abs(value) for value in values), 0.9)
    limit = max(LEAST, FAR * typical)
    return min(-LEAST, max(min(values), -limit)), max(LEAST, min(max(values), limit))


def _y(value: float, low: float, high: float) -> float:
    share = (min(max(value, low), high) - low) / (high - low)
    return round(EDGE + (HEIGHT - 3 * EDGE) * (1 - share), 1)  # the marks stand below


def _lines(runs: Sequence[str], places: Mapping[str, Place]) -> Iterator[str]:
    """Stretches of neighbouring runs; a run without a time is a gap."""
    for stretch in _stretches(runs, places):
        if len(stretch) > 1:
            yield " ".join(f"{x:.4g},{y:.4g}" for x, y in stretch)


def _dots(runs: Sequence[str], places: Mapping[str, Place]) -> Iterator[Place]:
    stretches = list(_stretches(runs, places))
    yield from (stretch[0] for stretch in stretches if len(stretch) == 1)
    if stretches and len(stretches[-1]) > 1:
        yield stretches[-1][-1]


def _stretches(runs: Sequence[str], places: Mapping[str, Place]) -> Iterator[list[Place]]:
    stretch: list[Place] = []
    for run in runs:
        if run in places:
            stretch.append(places[run])
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _levels(
    track: Track, places: Mapping[str, Place], low: float, high: float, middle: float
) -> Iterator[tuple[float, float, float]]:
    if not track.changes:
        return
    first = {one.run for one in track.changes}
    stretch: list[str] = []
    value = {point.run: point.value for point in track.trend}
    for point in (*track.trend, None):
        if stretch and (point is None or point.run in first):
            xs = [places[run][0] for run in stretch if run in places]
            if xs:
                level = stats.median(sorted(value[run] for run in stretch)) / middle - 1
                yield xs[0], xs[-1], _y(level, low, high)
            stretch = []
        if point is not None:
            stretch.append(point.run)


def _steps(
    track: Track, columns: Mapping[str, float], results: Mapping[str, Result], versions: Mapping[int, Mapping[str, str]]
) -> Iterator[Step]:
    """The changes, with what else changed then: the commit and versions."""
    order = [point.run for point in track.trend]
    for one in track.changes or ():
        if one.run not in columns:
            continue
        after, before = results[one.run], results.get(order[order.index(one.run) - 1])
        words = [f"{one.change:+.1%} with {day(after.started_s)}"]
        words += [f"commit {after.commit[:COMMIT]}"] if after.commit else []
        words += _changed(versions.get(before.environment, {}), versions.get(after.environment, {})) if before else []
        yield Step(columns[one.run], one.change > 0, plain(", ".join(words), WORDS))


def _changed(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = sorted({*then, *now})
    return [
        f"{name} {then.get(name, 'absent')} → {now.get(name, 'absent')}"
        for name in names
        if then.get(name) != now.get(name)
    ]


def _blocks(results: Iterable[Result], columns: Mapping[str, float], places: Mapping[str, Place]) -> Iterator[Mark]:
    for one in results:
        if one.status in BLOCKS:
            x, y = places.get(one.run, (columns[one.run], HEIGHT - 3 * EDGE))
            yield Mark(x, y, f"{one.status}, {day(one.started_s)}")


def _summary(track: Track, relative: Mapping[str, float], steps: Sequence[Step]) -> str:
    if not relative:
        return "no times"
    told = [
        f"{len(relative)} timed runs, from {min(relative.values()):+.1%} to {max(relative.values()):+.1%} of the median"
    ]
    blocking = sum(one.status in BLOCKS for one in track.results)
    told += [f"{blocking} blocked"] if blocking else []
    return "; ".join([*told, *(step.words for step in steps)])


def day(started_s: int) -> str:
    """A time as a day in UTC."""
    return datetime.fromtimestamp(started_s, UTC).strftime("%Y-%m-%d")
