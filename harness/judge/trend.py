"""What accepted runs say over time: where a case changed, and what many small accepted losses add up to.

Nothing here gates: a change below the margin passes each time it is accepted, and only a look back finds the sum.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise

from harness import stats

SIDE = 2
"""Runs that there must be on each side of a change."""
MISSING = "change points are found by ruptures, which is not here: pip install 'trt-harness[history]'"


@dataclass(frozen=True)
class Point:
    """One accepted run, or the run in the middle of those of an earlier artefact."""

    run: str
    value: float
    """p10 over the canary's; in ms where not every run has a canary."""
    runs: int
    """How many it stands for."""
    artefact: int
    """Counts the accepted artefacts."""

    @property
    def day(self) -> str:
        """The date that the run's id begins with, as YYYY-MM-DD; empty for another kind of id."""
        found = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", self.run)
        return "-".join(found.groups()) if found else ""


@dataclass(frozen=True)
class ChangePoint:
    """Where the times before and after differ."""

    run: str
    """The first run after it."""
    change: float
    """Relative, of the medians of the runs up to the next changes."""
    before: int
    after: int


@dataclass(frozen=True)
class Sum:
    """All accepted changes since a run."""

    since: str
    change: float
    """Relative; above 0 it is slower."""
    changes: tuple[float, ...]
    """Each accepted change in it."""
    small: float
    """What those within the margin make together, slower and faster ones."""
    crept: bool
    """Together they are beyond it."""


@dataclass(frozen=True)
class Trend:
    """The accepted runs of one case on one machine class."""

    case: str
    machine: str
    unit: str
    """"canary" or "ms"."""
    margin: float
    points: tuple[Point, ...]
    changes: tuple[ChangePoint, ...] | None
    """None where the library that finds them is not here."""
    sum: Sum | None


def points(
    history: Sequence[tuple[str, float, float | None]], past: Sequence[tuple[str, float, float | None, int]]
) -> tuple[tuple[Point, ...], str]:
    """The accepted runs of an entry, oldest first, and the unit of their values."""
    earlier = [(*one, number) for number, one in enumerate(past)]
    every = [*earlier, *((*one, 1, len(past)) for one in history)]
    steady = all(canary_ms for _, _, canary_ms, _, _ in every)
    made = [
        Point(run, value_ms / canary_ms if steady and canary_ms else value_ms, runs, artefact)
        for run, value_ms, canary_ms, runs, artefact in every
    ]
    return tuple(made), "canary" if steady else "ms"


def change_points(series: Sequence[Point], margin: float) -> tuple[ChangePoint, ...] | None:
    """Where the median changes by at least the margin; None without the library.

    PELT (Killick, Fearnhead and Eckley, JASA 107, 2012) on logarithms, with the absolute error as the cost: one run
    that is off is no change. The penalty is what a change of the margin gains with two runs on each side, or more where
    neighbouring runs differ by more.
    """
    try:
        import ruptures
    except ImportError:
        return None
    import numpy as np

    from harness.judge.absolute_cost import AbsoluteCost

    values = [math.log(point.value) for point in series for _ in range(point.runs)]
    if len(values) < 2 * SIDE or max(values) - min(values) < math.log1p(margin):  # then no two medians differ by it
        return ()
    steps = sorted(abs(b - a) for a, b in pairwise(values))
    noise = stats.median(steps) * 1.4826 / math.sqrt(2)  # of one value, from differences of two
    penalty = max(SIDE * math.log1p(margin), 2 * noise * math.log(len(values)))
    search = ruptures.Pelt(custom_cost=AbsoluteCost(), min_size=SIDE, jump=1).fit(np.array(values).reshape(-1, 1))
    ends = _merged(values, [0, *search.predict(pen=penalty)], math.log1p(margin))
    starts = list(accumulate((point.runs for point in series), initial=0))
    return tuple(
        ChangePoint(
            run=next(point.run for point, start in zip(series, starts, strict=False) if start + point.runs > at),
            change=math.expm1(_step(values, before, at, after)),
            before=at - before,
            after=after - at,
        )
        for before, at, after in zip(ends, ends[1:], ends[2:], strict=False)
    )


def _merged(values: Sequence[float], ends: list[int], least: float) -> list[int]:
    """The ends of segments without those that part too little, the smallest one first."""
    while len(ends) > 2:
        steps = {at: abs(_step(values, *ends[at - 1 : at + 2])) for at in range(1, len(ends) - 1)}
        smallest = min(steps, key=lambda at: steps[at])
        if steps[smallest] >= least:
            break
        ends = ends[:smallest] + ends[smallest + 1 :]
    return ends


def _step(values: Sequence[float], before: int, at: int, after: int) -> float:
    return stats.median(sorted(values[at:after])) - stats.median(sorted(values[before:at]))


def summed(series: Sequence[Point], margin: float, *, since: str = "", against: str = "") -> Sum | None:
    """What the accepted changes add up to since a day (YYYY-MM-DD), against a run's artefact, or since the oldest.

    None where no run is remembered, or not the one that `against` names.
    """
    states = [
        replace(some[0], value=stats.median(sorted(point.value for point in some)))
        for some in (list(group) for _, group in groupby(series, key=lambda point: point.artefact))
    ]
    named = [point.artefact for point in series if point.run == against]
    if not (named if against else states):
        return None
    first = named[0] if against else _on(states, since)
    chain = [state for state in states if state.artefact >= first]
    changes = [after.value / before.value - 1 for before, after in pairwise(chain)]
    small = math.prod(1 + one for one in changes if abs(one) <= margin) - 1
    return Sum(chain[0].run, chain[-1].value / chain[0].value - 1, tuple(changes), small, small > margin)


def _on(states: Sequence[Point], day: str) -> int:
    """The artefact that was accepted on a day; the oldest where none was yet, and for no day."""
    return max((state.artefact for state in states if day and state.day <= day), default=states[0].artefact)
