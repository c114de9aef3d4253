"""Decides on latency: budgets, and the change against an accepted window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.judge.duels import judge_duel
from harness.judge.screen import LOST, STORED_FLOOR_US, TIMES, enough, judge_screen, suspicious
from harness.records import PERCENTILES, Admission, Check, Duel, Latency, LatencyPlan, Quantiles, Screening
from harness.stats import samples_for

OUTDATED = "was timed in turns with another artefact than the one accepted now: run it again"
SAME = "the artefact is the accepted one, in the same environment"
MIN_SAMPLES = 6
STORED_REGRESSION = 0.05
"""The limit against a stored window, where the suite states none."""
HOW_LONG = ("min_count", "min_time_s", "warmup_s")
"""Settings that change how long is timed, and not what an iteration is."""
RULE = "ratio of medians beyond the limit, 95 % intervals of the medians apart, and more than the floor"


@dataclass(frozen=True)
class Accepted:
    """What the latency of a case is compared with."""

    latency: Latency | None = None
    """The window that was accepted."""
    duel: Duel | None = None
    """Launches in which it was timed against the accepted artefact, in turns."""
    admission: Admission | None = None
    p: Mapping[str, float] = field(default_factory=dict)
    """The duel's p-values, adjusted for the number of cases that were decided together."""
    same: bool = False
    """The case is the accepted artefact itself, in the environment in which it was accepted."""
    why_stored: str = ""
    """Why there is no duel."""
    versus: str = ""
    """What it is compared with instead of what was accepted: another environment, in words; a duel alone decides."""
    screening: Screening | None = None
    """This run's measurements against those of earlier runs, where there is no duel."""
    outdated: bool = False
    """The duel was against another artefact than the one that is accepted now."""
    single: bool = False
    """One window is all that there is and can be: that of another tool."""


def judge_latency(
    plan: LatencyPlan, latency: Latency | None, accepted: Accepted
) -> tuple[list[Check], str | None, str]:
    """Checks, the status that the change asks for (None: nothing to compare with), and a headline."""
    baseline = accepted.latency
    if latency is None:
        words = "accuracy within limits; not timed"
        return [], "inconclusive" if baseline else None, words + (", but the baseline was" if baseline else "")
    now = decided(latency)
    checks = [_budget(name, limit, now) for name, limit in plan.budget.items()]
    if accepted.versus:
        more, status, words = _versus(plan, accepted)
        return [*checks, *more], status, f"{accepted.versus}: {words}"
    if baseline is None:
        return checks, None, f"p50 {now.p50_ms:.4g} ms ({latency.decided_on}); no accepted latency to compare with"
    if refusal := incomparable(latency, baseline):
        return checks, "inconclusive", refusal
    if accepted.same:
        words = f"{SAME}: p50 {now.p50_ms:.4g} ms now, {decided(baseline).p50_ms:.4g} ms when it was accepted"
        return [*checks, _same(now, decided(baseline), words)], "passed", words
    if accepted.duel is not None and accepted.duel.launches:
        if accepted.outdated:
            return checks, "inconclusive", OUTDATED
        more, status, words = judge_duel(plan, accepted.duel, accepted.admission, accepted.p)
        return [*checks, *more], status, words
    if refusal := _too_few(now, decided(baseline)):
        return checks, "inconclusive", refusal
    why = accepted.why_stored or (f"not timed in turns: {accepted.duel.failures[0]}" if accepted.duel else "")
    more, status, words = _stored(plan, latency, baseline, accepted)
    if accepted.duel is not None and accepted.duel.failures and status in ("passed", "improved"):
        status = "inconclusive"  # what fails beside the accepted artefact is not fine
    return [*checks, *more], status, "; ".join(part for part in (words, _longer(latency, baseline), why) if part)


def _versus(plan: LatencyPlan, accepted: Accepted) -> tuple[list[Check], str, str]:
    """The decision on launches in turns with another environment; without any, nothing is decided."""
    duel = accepted.duel
    if duel is not None and duel.launches:
        return judge_duel(plan, duel, accepted.admission, accepted.p)
    why = accepted.why_stored or (duel.failures[0] if duel and duel.failures else "the run was interrupted")
    return [], "inconclusive", f"not timed in turns: {why}"


def _stored(plan: LatencyPlan, latency: Latency, baseline: Latency, accepted: Accepted) -> tuple[list[Check], str, str]:
    """The decision on times of other processes: by the screen, or by one window while there are few earlier runs."""
    screening = accepted.screening
    if screening is not None and enough(screening):
        return judge_screen(plan, screening, screening.broken)
    check, status, words = _change(plan, decided(latency), decided(baseline))
    if accepted.single or status != "regressed":
        return [check], status, words
    again, failures = (screening.again, screening.failures) if screening is not None else ((), ())
    found = [_change(plan, decided(one), decided(baseline)) for one in (latency, *again)]
    return _of_all(found, failures)


def _of_all(found: Sequence[tuple[Check, str, str]], failures: Sequence[str]) -> tuple[list[Check], str, str]:
    """The decision on every measurement of a case whose first one is regressed: any clean one acquits."""
    kindest = min(found, key=lambda one: ("passed", "improved", "inconclusive", "regressed").index(one[1]))
    fastest = min(found, key=lambda one: one[0].value or 0.0)
    check, status, words = fastest if kindest[1] == "regressed" else kindest
    if status != "regressed":
        status = "inconclusive" if status == "inconclusive" else "passed"
        return [check], status, f"{words}; {len(found)} measured in fresh processes, the kindest counts"
    if len(found) < TIMES:
        told = "".join(f" ({why})" for why in failures[:1])
        words += f"; slower, but measured only {len(found)} of {TIMES} times{told}"
        return [replace(check, ok=True)], "inconclusive", words
    return [check], status, f"{words}; slower in all of {len(found)} fresh processes"


def measured_again(plan: LatencyPlan, latency: Latency, baseline: Latency, screening: Screening) -> bool:
    """Whether a case is to be timed once more in a fresh process before it may fail."""
    if len(screening.failures) >= LOST or len(screening.now) >= TIMES or _too_few(decided(latency), decided(baseline)):
        return False
    if enough(screening):
        return suspicious(plan, screening)
    windows = (latency, *screening.again)
    return all(_change(plan, decided(one), decided(baseline))[1] == "regressed" for one in windows)


def decided(latency: Latency) -> Quantiles:
    """The distribution that the gate decides on."""
    return latency.gpu if latency.decided_on == "gpu" and latency.gpu is not None else latency.host


def _budget(name: str, limit: float, now: Quantiles) -> Check:
    value: float | None = getattr(now, name)
    if value is None:
        reason = f"{name.removesuffix('_ms')} was not measured"
        return Check(f"latency/{name}", "latency", None, name, None, limit, None, ok=False, reason=reason)
    ok = value <= limit
    reason = f"{name.removesuffix('_ms')} {value:.4g} ms {'<=' if ok else '>'} {limit:g} ms"
    needed = samples_for(PERCENTILES[name]) if name in PERCENTILES else 1
    if now.samples < needed:
        ok = False
        reason += f", but of {now.samples} samples that is not known: it needs {needed}; a longer min_time_s gives more"
    return Check(f"latency/{name}", "latency", None, name, value, limit, None, ok, reason)


def _same(now: Quantiles, then: Quantiles, words: str) -> Check:
    return Check("latency/regression", "latency", None, "p50_ms", now.p50_ms, None, then.p50_ms, ok=True, reason=words)


def incomparable(latency: Latency, baseline: Latency) -> str | None:
    """Windows of other iterations are never compared; the headline names what differs."""
    told = [words for key, words in _differing(latency, baseline).items() if key not in HOW_LONG]
    if not told:
        return None
    return f"the baseline was measured with other settings ({', '.join(told)}): accept a new one to compare"


def _longer(latency: Latency, baseline: Latency) -> str:
    """Where two windows are not as long, in words; empty where they are."""
    told = [words for key, words in _differing(latency, baseline).items() if key in HOW_LONG]
    return f"timed with {', '.join(told)}" if told else ""


def _differing(latency: Latency, baseline: Latency) -> dict[str, str]:
    """The settings in which two windows differ, with their values in words."""
    ours, theirs = (dict(one.settings) | {"decided_on": one.decided_on} for one in (latency, baseline))
    return {
        key: f"{key} {theirs.get(key)} then, {ours.get(key)} now"
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    }


def _too_few(now: Quantiles, then: Quantiles) -> str | None:
    """Fewer than 6 samples have no 95 % interval of the median (2 * 0.5^6 = 3.1 %), and no time is not a time."""
    fewest = min(now.samples, then.samples)
    if fewest < MIN_SAMPLES:
        return f"{fewest} samples are too few to compare: a longer min_time_s gives more"
    return "the baseline holds no time to compare with" if then.p50_ms <= 0 else None


def _change(plan: LatencyPlan, now: Quantiles, then: Quantiles) -> tuple[Check, str, str]:
    """Regressed, improved, inconclusive or passed, by RULE."""
    limit = STORED_REGRESSION if plan.regression is None else plan.regression
    floor_us = STORED_FLOOR_US if plan.floor_us is None else plan.floor_us
    ratio = now.p50_ms / then.p50_ms
    above_floor = abs(now.p50_ms - then.p50_ms) * 1e3 > floor_us
    slower = above_floor and ratio > 1 + limit
    faster_ratio = ratio < 1 / (1 + limit)
    faster = above_floor and faster_ratio
    apart = now.ci95_ms[0] > then.ci95_ms[1] or now.ci95_ms[1] < then.ci95_ms[0]
    status = "improved" if faster and apart else "passed"
    if slower:
        status = "regressed" if apart else "inconclusive"
    reason = (
        f"p50 {now.p50_ms:.4g} ms against {then.p50_ms:.4g} ms ({ratio - 1:+.1%}, limit +{limit:.1%}; "
        f"intervals [{now.ci95_ms[0]:.4g}, {now.ci95_ms[1]:.4g}] and [{then.ci95_ms[0]:.4g}, {then.ci95_ms[1]:.4g}] ms)"
    )
    if (ratio > 1 + limit or faster_ratio) and not above_floor:
        reason += f"; a difference of {abs(now.p50_ms - then.p50_ms) * 1e3:.2g} us is within floor_us {floor_us:g}"
    check = Check(
        "latency/regression", "latency", None, "p50_ms", now.p50_ms, then.p50_ms * (1 + limit), then.p50_ms,
        status != "regressed", f"{reason}; rule: {RULE}",
    )  # fmt: skip
    return check, status, reason
