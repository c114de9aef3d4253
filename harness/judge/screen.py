"""Decides on times against those of earlier runs: a coarse screen, for where both sides cannot be timed in turns.

Machines change from run to run, so times are divided by those of a canary: fixed work that the change under test
cannot touch, timed in the same process. One clean measurement acquits, and only three beyond the margin fail: one that
is wider for cases whose earlier runs lie further apart. Where the canary itself moved it is the job that is wrong, not
the code; where no canary can tell, many suspicious cases at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from harness import stats
from harness.records import Check, LatencyPlan, Screened, Screening

KEPT = 20
"""Runs of a machine class that a case is compared with."""
FEWEST = 5
"""Runs without which nothing is compared."""
TIMES = 3
"""Measurements that must all be suspicious before a case fails."""
LOST = 2
"""After so many lost ones no more are made; of one alone a slower case would stay undecided."""
SUSPICIOUS, PROVEN = 0.02, 0.025
"""Slowdown beyond which one measurement is suspicious, and beyond which all of three fail a case."""
LIMIT = 0.05
"""The slowdown that these margins find in nine of ten decisions; a larger limit makes them larger in proportion."""
STORED_FLOOR_US = 5.0
"""Changes that never count against times of another process, where the suite states none."""
SIGMAS = 3.0
"""Standard deviations of earlier runs that a case must be beyond to fail, and that a canary may move."""
WIDEST = 1.0
"""No margin is wider (log): earlier runs that far apart show nothing."""
SMALLEST_SD = 0.001
"""A canary is not taken to repeat better than this (log)."""
MANY_SHARE, MANY_OF = 0.1, 10
"""Share of suspicious cases, among at least that many, beyond which the job is invalid."""
RULE = (
    f"all of {TIMES} fresh measurements, divided by the canary's, beyond the margin over the median of earlier runs; "
    f"the margin is at least {SIGMAS:g} standard deviations of these"
)


@dataclass(frozen=True)
class Change:
    """One measurement against the earlier runs."""

    ratio: float
    baseline_ms: float
    """What the case would have taken in this process, had nothing changed."""
    measured: Screened

    @property
    def change_us(self) -> float:
        """The change in microseconds."""
        return (self.measured.value_ms - self.baseline_ms) * 1e3


def suspicious_from(plan: LatencyPlan) -> float:
    """The relative slowdown from which a measurement is suspicious."""
    return _margin(plan, SUSPICIOUS)


def enough(screening: Screening) -> bool:
    """Whether there are enough earlier runs to compare with."""
    return len(_history(screening)) >= FEWEST


def suspicious(plan: LatencyPlan, screening: Screening) -> bool:
    """Whether every measurement so far is slower than the margin allows; one clean measurement acquits."""
    changes = _changes(screening)
    return bool(changes) and all(_beyond(plan, one, suspicious_from(plan)) for one in changes)


def doubtful(plan: LatencyPlan, screening: Screening) -> bool:
    """Whether a job that may not be trusted leaves the case open: it is slower, or only its canary says it is not."""
    return suspicious(plan, screening) or suspicious(plan, _as_timed(screening))


def broken_jobs(cases: Sequence[tuple[str, LatencyPlan, Screening]]) -> dict[str, str]:
    """What `broken_job` says of each group of cases that share a canary, by the name of the group; only where it does.

    An earlier run's canary is the median over the cases; the latest runs of all of them count as one run. Of this job
    each case has one canary, the median of its measurements: one that was measured more often counts no more.
    """
    found: dict[str, str] = {}
    for group in sorted({name for name, _, _ in cases}):
        some = [(plan, one) for name, plan, one in cases if name == group and enough(one)]
        earlier = [_canaries(reversed(_history(one))) for _, one in some]
        runs = [[canary for case in earlier for canary in case[at : at + 1]] for at in reversed(range(KEPT))]
        now = [stats.median(sorted(here)) for _, one in some if (here := _canaries(one.now))]
        slower = [suspicious(plan, one) for plan, one in some]
        if why := broken_job([stats.median(sorted(run)) for run in runs if run], now, slower):
            found[group] = why
    return found


def _canaries(measured: Iterable[Screened]) -> list[float]:
    return [one.canary_ms for one in measured if one.canary_ms is not None]


def broken_job(earlier_canary_ms: Sequence[float], canary_ms: Sequence[float], cases: Sequence[bool]) -> str | None:
    """Why a job says nothing about the code; None where it may.

    `earlier_canary_ms` has one value for each earlier run, `canary_ms` those of this job, `cases` says of each whether
    it is suspicious: many at once are the machine's doing only where no canary says that the machine is as it was.
    """
    earlier = [math.log(value) for value in earlier_canary_ms if value > 0][-KEPT:]
    now = [math.log(value) for value in canary_ms if value > 0]
    if len(earlier) >= FEWEST and now:
        moved = stats.median(sorted(now)) - math.fsum(earlier) / len(earlier)
        band = SIGMAS * max(stats.spread(earlier), SMALLEST_SD)
        if abs(moved) > band:
            return (
                f"the canary, which no change can touch, moved by {math.expm1(moved):+.1%} (its own band is "
                f"{math.expm1(band):.1%}): run the job again, elsewhere if it stays"
            )
        return None
    if len(cases) >= MANY_OF and sum(cases) > MANY_SHARE * len(cases):
        return (
            f"{sum(cases)} of {len(cases)} cases are slower at once, which is the machine's doing more likely than the "
            "code's: run the job again, or time both sides in turns"
        )
    return None


def judge_screen(plan: LatencyPlan, screening: Screening, broken: str | None) -> tuple[list[Check], str, str]:
    """Checks, status (passed, improved, inconclusive or regressed) and a headline; `broken` is what `broken_job` said.

    A broken job fails nothing, and passes only what is as fast as before with the canary and without it.
    """
    changes = _changes(screening)
    if not changes:
        return [], "inconclusive", _nothing(screening)
    best = min(changes, key=lambda one: one.ratio)
    status, why = _decide(plan, screening, changes, broken)
    words = f"{screening.quantile} {best.ratio - 1:+.1%} against {len(_history(screening))} earlier runs"
    margin = _proven(plan, screening)
    words += f" ({screening.decided_on}; {len(changes)} measured, the fastest counts; margin {margin:.1%})"
    words += f": {why}" if why else ""
    limit = best.baseline_ms * (1 + margin)
    check = Check(
        "latency/regression", "latency", None, f"{screening.quantile}_ms", best.measured.value_ms, limit,
        best.baseline_ms, status != "regressed", f"{words}; rule: {RULE}",
    )  # fmt: skip
    return [check], status, words


def _decide(plan: LatencyPlan, screening: Screening, changes: Sequence[Change], broken: str | None) -> tuple[str, str]:
    """Status, and what explains it."""
    margin = _proven(plan, screening)
    if broken is not None and doubtful(plan, screening):
        return "inconclusive", f"the job is invalid: {broken}"
    if not suspicious(plan, screening):
        faster = broken is None and _with_canary(screening) and all(_faster(plan, one, margin) for one in changes)
        return "improved" if faster else "passed", ""
    if len(changes) < TIMES:
        told = "".join(f" ({why})" for why in screening.failures[:1])
        return "inconclusive", f"suspicious, and measured only {len(changes)} of {TIMES} times{told}"
    if not _with_canary(screening):
        return "inconclusive", "suspicious, but without a canary the machine may be the cause"
    if all(_beyond(plan, one, margin) for one in changes):
        return "regressed", f"slower in all of {len(changes)} fresh processes"
    return "inconclusive", "suspicious, but not all beyond the margin: time both sides in turns to tell"


def _nothing(screening: Screening) -> str:
    if not screening.now:
        return "not timed"
    return f"{len(_history(screening))} earlier runs of this machine class are too few: {FEWEST} are needed to compare"


def _changes(screening: Screening) -> list[Change]:
    """Every measurement against the median of the earlier runs; none where these are too few."""
    history, canary = _history(screening), _with_canary(screening)
    if len(history) < FEWEST:
        return []
    base = stats.median(sorted(one.value_ms / _divisor(one, canary=canary) for one in history))
    expected = [base * _divisor(one, canary=canary) for one in screening.now]
    return [Change(one.value_ms / ms, ms, one) for one, ms in zip(screening.now, expected, strict=True)]


def _history(screening: Screening) -> tuple[Screened, ...]:
    """The earlier runs that count: those with a canary, where they are enough and it was timed now as well."""
    timed = [one for one in screening.history if one.value_ms > 0]
    beside = [one for one in timed if _has_canary(one)]
    told = len(beside) >= FEWEST and all(map(_has_canary, screening.now))
    return tuple(beside if told else timed)[-KEPT:]


def _has_canary(one: Screened) -> bool:
    return one.canary_ms is not None and one.canary_ms > 0


def _with_canary(screening: Screening) -> bool:
    """Whether every value has its canary; else times are compared as they are."""
    return all(map(_has_canary, (*_history(screening), *screening.now)))


def _divisor(one: Screened, *, canary: bool) -> float:
    return one.canary_ms if canary and one.canary_ms is not None else 1.0


def _beyond(plan: LatencyPlan, change: Change, margin: float) -> bool:
    return change.ratio > 1 + margin and change.change_us > _floor_us(plan)


def _faster(plan: LatencyPlan, change: Change, margin: float) -> bool:
    return change.ratio < 1 / (1 + margin) and -change.change_us > _floor_us(plan)


def _floor_us(plan: LatencyPlan) -> float:
    return STORED_FLOOR_US if plan.floor_us is None else plan.floor_us


def _as_timed(screening: Screening) -> Screening:
    """The times as they are, without the canary's."""
    bare = [tuple(replace(one, canary_ms=None) for one in some) for some in (screening.history, screening.now)]
    return replace(screening, history=bare[0], now=bare[1])


def _proven(plan: LatencyPlan, screening: Screening) -> float:
    """The margin beyond which a case has changed: no smaller than what its earlier runs differ by."""
    canary = _with_canary(screening)
    earlier = [math.log(one.value_ms / _divisor(one, canary=canary)) for one in _history(screening)]
    if len(earlier) < FEWEST:
        return _margin(plan, PROVEN)
    return max(_margin(plan, PROVEN), math.expm1(min(SIGMAS * stats.spread(earlier), WIDEST)))


def _margin(plan: LatencyPlan, margin: float) -> float:
    return margin * max(1.0, (plan.regression or 0.0) / LIMIT)
