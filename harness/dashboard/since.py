"""What got worse since a point in time: states, speed and errors then, against those now."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness import stats
from harness.history.reading import Result
from harness.history.unstable import BLOCKS
from harness.judge.drift import PRECISE, SMALLEST
from harness.judge.screen import LIMIT, SIGMAS

LAST = 5
"""Results on each side of which the median is taken."""
GREW = 2.0
RULE = (
    "Fails: the newest result is error, failed, regressed or, as known, acknowledged, and the newest one then was not. "
    f"Slower: the median p10 of the newest {LAST} runs (divided by the canary's where all have one) is more than "
    f"{LIMIT:.0%} above that of the last {LAST} runs then, and by more than {SIGMAS:g} standard deviations of those. "
    f"Less accurate: the largest relative error (rmse_rel) on the same model and inputs is more than {GREW:g} times "
    "what it was, beyond what its number format brings by itself. Not measured: it was measured then and is "
    "skipped now, or runs of its suite since then do not have it."
)
KINDS = ("fails", "slower", "less accurate", "not measured")
_UNMEASURED = frozenset({"skipped", "missing"})


@dataclass(frozen=True)
class Worse:
    """One thing that got worse; `size` orders those of a kind, the larger first."""

    kind: str
    words: str
    size: float


def worse(case: str, then: Sequence[Result], now: Sequence[Result], *, suite_ran: bool) -> list[Worse]:
    """What got worse of a case; `then` and `now` are the results up to a time and after it, oldest first.

    `suite_ran` says whether the machine class has runs of the suite after that time.
    """
    if not then or (not now and not suite_ran):
        return []
    if not now:
        return (
            [Worse("not measured", f"was {then[-1].status}; no run since has it", 1.0)] if _measured(then[-1]) else []
        )
    found = [_fails(then[-1], now[-1]), _slower(then, now), _less_accurate(case, then, now)]
    if not _measured(now[-1]) and _measured(then[-1]):
        found.append(Worse("not measured", f"was {then[-1].status}, is {now[-1].status}: {now[-1].headline}", 0.0))
    return [one for one in found if one is not None]


def _measured(one: Result) -> bool:
    return one.status not in _UNMEASURED


def _fails(then: Result, now: Result) -> Worse | None:
    if now.status not in BLOCKS or then.status in BLOCKS:
        return None
    return Worse("fails", f"was {then.status}, is {now.status}: {now.headline}", 0.0)


def _slower(then: Sequence[Result], now: Sequence[Result]) -> Worse | None:
    before = [one for one in then if one.p10_ms][-LAST:]
    after = [one for one in now if one.p10_ms][-LAST:]
    if not before or not after or len({one.method for one in (*before, *after)}) > 1:
        return None
    steady = all(one.canary_ms for one in (*before, *after))
    old, new = ([math.log(_value(one, steady=steady)) for one in side] for side in (before, after))
    change = stats.median(sorted(new)) - stats.median(sorted(old))
    if change <= max(math.log1p(LIMIT), SIGMAS * stats.spread(old)):
        return None
    told = f"{math.expm1(change):+.1%}, p50 {before[-1].p50_ms:.4g} → {after[-1].p50_ms:.4g} ms"
    return Worse("slower", told if steady else f"{told} (without a canary)", change)


def _value(one: Result, *, steady: bool) -> float:
    return (one.p10_ms or math.nan) / ((one.canary_ms or math.nan) if steady else 1.0)


def _less_accurate(case: str, then: Sequence[Result], now: Sequence[Result]) -> Worse | None:
    new = next((one for one in reversed(now) if one.rmse_rel is not None), None)
    old = next((one for one in reversed(then) if one.rmse_rel is not None), None)
    if new is None or old is None or new.material != old.material or new.rmse_rel is None or old.rmse_rel is None:
        return None
    brings = 2 * PRECISE.get(case.split("/")[-2].partition("+")[0], SMALLEST)
    if new.rmse_rel <= max(GREW * old.rmse_rel, brings):
        return None
    times = f", {new.rmse_rel / old.rmse_rel:.1f}x" if old.rmse_rel else ""
    return Worse(
        "less accurate", f"rmse_rel {old.rmse_rel:.3g} → {new.rmse_rel:.3g}{times}", new.rmse_rel - old.rmse_rel
    )
