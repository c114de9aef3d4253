"""The server scenario of MLPerf LoadGen: queries arrive at random, and a percentile of their latency is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from harness import stats
from harness.records import PERCENTILES, LatencyPlan, Server, Trial
from harness.timing.lanes import Lane, open_loop
from harness.timing.scenarios import Shown, at_most_ms, median_s
from harness.timing.search import MOST_PER_S, Found, highest_rate

BOUNDS = 50
"""A trial lasts at least as many bounds: a queue needs time to grow."""
FIRST_USE, LEAST_USE = 0.5, 0.01
"""Where a search begins, of what all lanes could answer, and where a query hardly meets another, of what one could."""
DRAWN = 1024
"""Arrivals that are drawn at a time: whoever waits for them waits some 10 us."""

Holds = Callable[[float], bool | None]
Told = tuple[dict[str, float | None], str]
"""Measures, and the words of a note."""


def server(lanes: Sequence[Lane], each_s: float, plan: Server, timing: LatencyPlan, most_s: float) -> Shown:
    """Arrivals at the rate of the plan, or the highest rate that keeps the bound, where a sample takes `each_s`."""
    trials: list[Trial] = []
    begin = _now(lanes)

    def holds(rate_per_s: float) -> bool | None:
        if _now(lanes) - begin + queries(plan, rate_per_s, timing) / rate_per_s > most_s:
            return None
        trials.append(attempt(lanes, plan, rate_per_s, timing))
        return trials[-1].holds

    if plan.rate_per_s is not None:
        measures, words = _at_rate(plan, plan.rate_per_s, holds, trials, most_s)
    else:
        start = min(plan.min_per_s or FIRST_USE * len(lanes) / each_s, MOST_PER_S)
        # of one lane: all together may answer no more than one, where they share a processor
        found = highest_rate(holds, start, min(start, LEAST_USE / each_s))
        measures, words = _searched(plan, found, most_s)
        words += f" ({len(trials)} trials)"
    return Shown(measures, tuple(trials), (f"serving: server: {words}",))


def _now(lanes: Sequence[Lane]) -> float:
    return max(lane.now() for lane in lanes)


def queries(plan: Server, rate_per_s: float, timing: LatencyPlan) -> int:
    """How many queries a trial has: as many as the percentile needs, and for long enough."""
    percentile, bound_ms = plan.bound
    lasting_s = max(timing.min_time_s, BOUNDS * bound_ms / 1e3)
    return max(stats.samples_for(PERCENTILES[percentile]), math.ceil(rate_per_s * lasting_s))


def arrivals_s(rate_per_s: float, count: int, seed: int) -> Iterator[float]:
    """A Poisson process; at another rate the same one, stretched, so that trials differ by nothing else.

    A few are drawn at a time: at a high rate a trial has more of them than fit into memory.
    """
    rng, last = np.random.default_rng(seed), 0.0
    for first in range(0, count, DRAWN):
        gaps = rng.exponential(size=min(DRAWN, count - first))
        gaps[0] += last
        due = np.cumsum(gaps)
        last = float(due[-1])
        yield from (due / rate_per_s).tolist()


def attempt(lanes: Sequence[Lane], plan: Server, rate_per_s: float, timing: LatencyPlan) -> Trial:
    """One rate; it holds where no more queries are above the bound than LoadGen's early stopping allows."""
    percentile, bound_ms = plan.bound
    count = queries(plan, rate_per_s, timing)
    allowed = stats.may_exceed(count, PERCENTILES[percentile])
    found = open_loop(lanes, arrivals_s(rate_per_s, count, plan.seed), bound_ms / 1e3, allowed)
    over = sum(latency > bound_ms / 1e3 for latency in found)
    told_ms = at_most_ms(found, allowed)
    return Trial("server", rate_per_s, len(found), median_s(found) * 1e3, told_ms, over, holds=over <= allowed)


def _at_rate(plan: Server, rate_per_s: float, holds: Holds, trials: Sequence[Trial], most_s: float) -> Told:
    percentile, bound_ms = plan.bound
    kept = holds(rate_per_s)
    if kept is None:
        words = f"the queries that a trial at {rate_per_s:g}/s needs take longer than {most_s:g} s (max_time_s)"
        return {f"server_{percentile}": None}, words
    (trial,) = trials
    words = f"at {rate_per_s:g}/s {trial.over} of {trial.queries} queries took more than {bound_ms:g} ms"
    words += "" if kept else ", and the trial ended there"
    return {f"server_{percentile}": trial.quantile_ms}, words


def _searched(plan: Server, found: Found, most_s: float) -> Told:
    highest = 0.0 if found.held is None and found.whole else found.held
    return {"server_per_s": highest}, _words(plan, found, most_s)


def _words(plan: Server, found: Found, most_s: float) -> str:
    percentile, bound_ms = plan.bound
    bounded = f"{percentile.removesuffix('_ms')} <= {bound_ms:g} ms"
    words = f"no rate was seen to keep {bounded}" if found.held is None else f"{found.held:.4g}/s keeps {bounded}"
    if found.failed is not None:
        words += f", {found.failed:.4g}/s does not"
    return words if found.whole else f"{words}; another trial would take longer than {most_s:g} s (max_time_s)"
