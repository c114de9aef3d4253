"""Decides on what another tool measured: by the rule for accepted windows, else by the screen over earlier runs."""

from __future__ import annotations

from collections.abc import Iterable

from harness.baselines import Entry
from harness.judge.latency import MIN_SAMPLES, Accepted, decided, judge_latency
from harness.judge.screen import FEWEST, judge_screen
from harness.records import Latency, LatencyPlan, Screened, Screening, Verdict


def comparable(latency: Latency, earlier: Iterable[Latency]) -> Screening:
    """A latency and those earlier ones, oldest first, that were measured in the same way; no canary ran beside them."""
    same = [one for one in earlier if (one.decided_on, one.settings) == (latency.decided_on, latency.settings)]
    history = tuple(Screened(decided(one).p50_ms, None) for one in same)
    return Screening("p50", history, (Screened(decided(latency).p50_ms, None),), latency.decided_on)


def verdict(
    plan: LatencyPlan, latency: Latency, entry: Entry | None, screening: Screening, broken: str | None
) -> Verdict:
    """The verdict on one benchmark; `entry` is what was accepted for it, `broken` why its job tells nothing."""
    if entry is None or entry.latency is None:
        if len(screening.history) < FEWEST:
            _, _, words = judge_latency(plan, latency, Accepted())
            return Verdict("new", words)
        checks, status, words = judge_screen(plan, screening, broken)
        return Verdict(status, words, tuple(checks))
    fewest = min(decided(latency).samples, decided(entry.latency).samples)
    if fewest < MIN_SAMPLES:
        words = f"{fewest} rounds are too few to compare, {MIN_SAMPLES} are needed: --benchmark-min-rounds gives more"
        return Verdict("inconclusive", words)
    checks, change, words = judge_latency(plan, latency, Accepted(entry.latency, single=True))
    return Verdict(change or "inconclusive", words, tuple(checks))
