"""Decides on launches in which the accepted artefact and the candidate were timed in turns.

The unit of evidence is the launch, never the iteration: iterations of one process share its memory layout and its
slow moments, and tests on them call unchanged code slower in a third of all comparisons. Two quantities are judged:
the median (`Launch.log_ratio`) and the tail (`Launch.tail`). Launches are looked at after 2, 5 and 10; the first two
looks can only acquit, so that looking more than once costs no false alarms. Everything is a closed formula: the same
launches give the same decision.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from harness import stats
from harness.judge.launches import (
    ALPHA,
    CONFIRMING,
    LOOKS,
    MOST,
    SLOW_CALL,
    SURE,
    TAIL_LIMIT,
    TAIL_MARGIN,
    Found,
    admit,
    clean,
    mde,
    weigh,
    why_not,
)
from harness.records import Admission, Check, Duel, LatencyPlan

__all__ = ["LOOKS", "adjusted", "admit", "judge_duel", "mde", "p_values", "wanted"]

QUESTION = "latency"
REGRESSION, TAIL = "latency/regression", "latency/tail"
RULE = (
    f"one-sided t of launches against the margin, Holm-adjusted p < {ALPHA:g}, confirmed by the last {CONFIRMING}, and "
    f"more than the floor; passes where the upper {SURE:.0%} bound is below the limit"
)


def wanted(duel: Duel, plan: LatencyPlan, admission: Admission | None) -> int:
    """How many more launches the next look needs, others taking the place of spoiled ones; 0 where none helps."""
    found, count = weigh(duel, plan, admission), len(clean(duel))
    if found is not None and (found.acquitted or found.last or (found.advisory and not found.seems_gross)):
        return 0
    upto = next(look for look in LOOKS if look > count)
    return min(upto - count, max(0, MOST - len(duel.launches)))


def p_values(duel: Duel, plan: LatencyPlan, admission: Admission | None) -> dict[str, float]:
    """How likely launches like these are without a slowdown: of the median, of the tail; 1 where none can fail."""
    found = weigh(duel, plan, admission)
    if found is None or found.advisory or not found.last:
        return {"median": 1.0, "tail": 1.0}
    return {"median": found.ratio.p(found.margin), "tail": found.tail.p(TAIL_MARGIN)}


def adjusted(p: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The p-values of all cases of a suite, case id to quantity to p, adjusted for being that many (Holm)."""
    places = [(case, quantity) for case, values in p.items() for quantity in values]
    corrected = stats.holm([p[case][quantity] for case, quantity in places])
    found: dict[str, dict[str, float]] = {case: {} for case in p}
    for (case, quantity), value in zip(places, corrected, strict=True):
        found[case][quantity] = value
    return found


def judge_duel(
    plan: LatencyPlan, duel: Duel, admission: Admission | None, p: Mapping[str, float]
) -> tuple[list[Check], str, str]:
    """Checks, status (regressed, passed, improved or inconclusive) and a headline.

    `p` are the case's adjusted p-values; without them it does not fail.
    """
    found = weigh(duel, plan, admission)
    if found is None:
        return [], "inconclusive", f"{len(clean(duel))} of {len(duel.launches)} launches are evidence{_spoiled(duel)}"
    status, why, failing = _decide(found, duel, p)
    if duel.failures:
        status = "inconclusive" if status in ("passed", "improved") else status
        why = "; ".join(part for part in (why, _failed(duel)) if part)
    words = f"{_told(found, duel)}: {why}" if why else _told(found, duel)
    return [_median_check(found, failing, words, p), _tail_check(found, failing, p)], status, words


def _decide(found: Found, duel: Duel, p: Mapping[str, float]) -> tuple[str, str, set[str]]:
    """Status, what explains it, and the names of the checks that fail."""
    if found.advisory:
        if found.gross:
            why = f"slower by more than the {found.least:.2%} that are found of a case that repeats as badly as this"
            return "regressed", why, {REGRESSION}
        return "inconclusive", f"advisory, no decision: {_too_noisy(found)}", set()
    failing = _failing(found, p) if found.last else set()
    if failing:
        words = {REGRESSION: f"slower than the margin of {math.expm1(found.margin):.2%}", TAIL: _tail_words(found, p)}
        return "regressed", words[REGRESSION if REGRESSION in failing else TAIL], failing
    if not (found.last or found.acquitted):
        return "inconclusive", f"{found.needed} clean launches are needed to decide{_spoiled(duel)}", set()
    if found.fast and found.even:
        faster = found.ratio.upper < -found.margin and abs(found.change_us) > found.floor_us
        return ("improved" if faster else "passed"), "", set()
    return "inconclusive", _undecided(found, p), set()


def _failing(found: Found, p: Mapping[str, float]) -> set[str]:
    """Which of the two checks fail at the last look."""
    failing = set()
    slower = p.get("median", 1.0) < ALPHA and found.ratio.latest > found.margin
    if slower and found.change_us > found.floor_us:
        failing.add(REGRESSION)
    if p.get("tail", 1.0) < ALPHA and found.tail.latest > TAIL_MARGIN and found.calls_matter:
        failing.add(TAIL)
    return failing


def _undecided(found: Found, p: Mapping[str, float]) -> str:
    """Why the last look decides nothing, and what would."""
    if found.fast:
        return f"{_tail_words(found, p)}: undecided; a quieter machine or a longer min_time_s would tell"
    if p.get("median", 1.0) < ALPHA and found.change_us > found.floor_us:
        return f"the last {CONFIRMING} launches do not confirm a slowdown: run it again"
    if found.ratio.upper - found.ratio.mean > found.limit - found.margin:
        return f"launches differ by {found.ratio.sd:.2%}: a quieter machine or a longer min_time_s would tell"
    return (
        f"the change is larger than the margin of {math.expm1(found.margin):.2%} or may reach the limit: a "
        f"latency.regression above {math.expm1(found.ratio.upper):.2%} would pass it, a smaller one fail it"
    )


def _too_noisy(found: Found) -> str:
    return (
        f"this case repeats so badly that only slowdowns from {found.least:.2%} are found, more than its limit of "
        f"{math.expm1(found.limit):.2%}; accept it anew on a quieter machine, with a longer min_time_s or a larger "
        "latency.regression"
    )


def _told(found: Found, duel: Duel) -> str:
    """The change in one phrase."""
    change, upper = math.expm1(found.ratio.middle), math.expm1(found.ratio.upper)
    lost = sum(why_not(launch) is not None for launch in duel.launches)
    replaced = f", {lost} spoiled ones replaced" if lost else ""
    return (
        f"p50 {change:+.2%}, at most {upper:+.2%} ({duel.decided_on}; {found.launches} launches in turns with "
        f"{duel.against}{replaced}; limit {math.expm1(found.limit):+.2%}{_raised(found)})"
    )


def _raised(found: Found) -> str:
    """What became of a limit that nothing could resolve."""
    if found.raised_from is None:
        return ""
    return f", raised from {found.raised_from:+.2%}: the smallest that can be resolved"


def _tail_words(found: Found, p: Mapping[str, float]) -> str:
    return (
        f"{found.tail.mean:+.2%} of calls beyond {1 + SLOW_CALL:g} medians (at most {found.tail.upper:+.2%}, "
        f"p {p.get('tail', 1.0):.2g})"
    )


def _median_check(found: Found, failing: set[str], words: str, p: Mapping[str, float]) -> Check:
    """The times are the accepted one's and what the launches' ratio makes of it, so that their ratio is the ratio."""
    limit, value = (found.a_ms * math.exp(log) for log in (found.limit, found.ratio.middle))
    reason = f"{words}; p {p.get('median', 1.0):.2g} against a margin of {math.expm1(found.margin):.2%}; rule: {RULE}"
    return Check(REGRESSION, QUESTION, None, "p50_ms", value, limit, found.a_ms, REGRESSION not in failing, reason)


def _tail_check(found: Found, failing: set[str], p: Mapping[str, float]) -> Check:
    reason = f"{_tail_words(found, p)}; limit {TAIL_LIMIT:.0%}, margin {TAIL_MARGIN:.0%}"
    if not found.calls_matter:
        reason += f"; such calls take longer by less than floor_us {found.floor_us:g}: not counted"
    return Check(TAIL, QUESTION, None, "tail", found.tail.mean, TAIL_LIMIT, 0.0, TAIL not in failing, reason)


def _failed(duel: Duel) -> str:
    """Launches that failed are no evidence of speed, but what fails now and then is not fine either."""
    count = len(duel.failures)
    return f"{count} {'launch' if count == 1 else 'launches'} failed, so it does not pass: {duel.failures[0]}"


def _spoiled(duel: Duel) -> str:
    reasons = Counter(why for why in map(why_not, duel.launches) if why is not None)
    return "".join(f"; {count} spoiled: {why}" for why, count in reasons.items())
