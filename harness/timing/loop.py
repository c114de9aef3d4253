"""The timing loop: warm-up until settled, then iterations until both a time and a count are reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any

from harness import stats
from harness.backends.base import Step
from harness.records import PERCENTILES, Latency, LatencyPlan, Quantiles, Spread
from harness.timing.laps import Lap, timed, uncollected
from harness.timing.settle import settle

MAX_TIME_FACTOR = 30.0
"""A window ends after this many times its minimum time even if the count is not reached; two samples are the least."""
MAX_WARMUP_FACTOR = 10.0
"""A warm-up ends after this many times `warmup_s` even if nothing has settled."""
TURN_S, TURN_LAPS, CANARY_S = 0.04, 10, 0.004
"""Turns of a step, at least so long and so many laps, and of the canary: what disturbs for longer disturbs both."""
TUKEY = 1.5
"""Interquartile ranges from the quartiles to the fences (Tukey, Exploratory Data Analysis, 1977)."""


def measure(step: Step, plan: LatencyPlan) -> Latency:
    """The latency of one synchronous iteration; the gate decides on the GPU's time where there is one."""
    return window(step, plan)[0]


def window(step: Step, plan: LatencyPlan, canary: Step | None = None) -> tuple[Latency, dict[str, float | None]]:
    """The latency, beside the p10 of a canary in turns with it, and on a GPU the medians of what it is made of.

    `enqueue_ms` is the host's time until the GPU had the work, `copy_in_ms`, `compute_ms` and `copy_out_ms` are the
    GPU's, where transfers are timed.
    """
    with ExitStack() as held:
        lap = held.enter_context(timed(step))
        other = held.enter_context(timed(canary)) if canary else None
        held.enter_context(uncollected())
        found, beside = _window(lap, plan, other, scripted=step.scripted_ms is not None)
    host = quantiles([lap.host_ms for lap in found])
    gpu = quantiles([lap.gpu_ms for lap in found if lap.gpu_ms is not None])
    took = quantiles([lap.host_ms if lap.gpu_ms is None else lap.gpu_ms for lap in beside])
    canary_ms = took.p10_ms if took else step.canary_ms
    latency = Latency(host, gpu, "gpu" if gpu else "host", settings(plan), canary_ms=canary_ms)  # type: ignore[arg-type]
    return latency, _made_of(found, [part.name for part in step.parts])


def settings(plan: LatencyPlan) -> dict[str, Any]:
    """How a window is measured; windows with different settings are never compared."""
    return {
        "transfers": plan.transfers,
        "cuda_graph": plan.cuda_graph,
        "streams": plan.streams,
        "depth": plan.depth,
        "flush_l2": plan.flush_l2,
        "warmup_s": plan.warmup_s,
        "min_time_s": plan.min_time_s,
        "min_count": plan.min_count,
    }


def quantiles(samples_ms: list[float]) -> Quantiles | None:
    """The distribution of samples in milliseconds; None for none."""
    if not samples_ms:
        return None
    ordered = sorted(samples_ms)
    return Quantiles(
        p50_ms=stats.median(ordered),
        p90_ms=stats.quantile(ordered, 0.90),
        p99_ms=stats.quantile(ordered, 0.99),
        mean_ms=sum(ordered) / len(ordered),
        ci95_ms=stats.median_interval(ordered),
        samples=len(ordered),
        p10_ms=stats.quantile(ordered, 0.10),
        spread=_spread(ordered),
    )


def _spread(ordered: Sequence[float]) -> Spread:
    """Of samples in rising order; quartiles are nearest ranks, as all quantiles here."""
    q1, q3 = stats.quantile(ordered, 0.25), stats.quantile(ordered, 0.75)
    inside = [one for one in ordered if q1 - TUKEY * (q3 - q1) <= one <= q3 + TUKEY * (q3 - q1)]
    mean, sd = math.fsum(ordered) / len(ordered), stats.spread(ordered)
    return Spread(
        min_ms=ordered[0],
        max_ms=ordered[-1],
        sd_ms=sd,
        q1_ms=q1,
        q3_ms=q3,
        low_ms=inside[0],
        high_ms=inside[-1],
        beyond_fences=len(ordered) - len(inside),
        beyond_sd=sum(abs(one - mean) > sd for one in ordered),
    )


def _made_of(laps: Sequence[Lap], parts: Sequence[str]) -> dict[str, float | None]:
    found = {"enqueue_ms": [lap.enqueue_ms for lap in laps if lap.enqueue_ms is not None]}
    found |= {f"{name}_ms": [lap.parts_ms[number] for lap in laps] for number, name in enumerate(parts)}
    return {name: stats.median(sorted(times)) for name, times in found.items() if times}


def _window(
    lap: Callable[[], Lap], plan: LatencyPlan, canary: Callable[[], Lap] | None, *, scripted: bool
) -> tuple[list[Lap], list[Lap]]:
    """Laps until time and count are both reached, after a warm-up until they have settled, and those of the canary."""
    count = max(
        [plan.min_count, *(stats.samples_for(PERCENTILES[name]) for name in plan.budget if name in PERCENTILES)]
    )
    if scripted:
        return [lap() for _ in range(count)], []
    if plan.warmup_s:
        settle(lap, plan.warmup_s, plan.warmup_s * MAX_WARMUP_FACTOR)
    return laps(lap, plan.min_time_s, count, plan.min_time_s * MAX_TIME_FACTOR, canary)


def laps(
    lap: Callable[[], Lap], least_s: float, count: int, most_s: float, canary: Callable[[], Lap] | None = None
) -> tuple[list[Lap], list[Lap]]:
    """Laps until `least_s` seconds and `count` are both reached or `most_s` is, and the canary's in between."""
    found: list[Lap] = []
    beside: list[Lap] = []
    spent = 0.0
    while True:
        if canary is not None:
            beside += _canary_laps(canary)
            lap()  # the first after another step is slower
        start, took, first = perf_counter(), 0.0, len(found)
        while canary is None or took < TURN_S or len(found) < first + TURN_LAPS:
            found.append(lap())
            took = perf_counter() - start
            enough = spent + took >= least_s and len(found) >= count
            if enough or (spent + took >= most_s and len(found) > 1):
                return found, beside
        spent += took


def _canary_laps(canary: Callable[[], Lap]) -> list[Lap]:
    canary()  # as above
    found = [canary()]
    until = perf_counter() + CANARY_S
    while perf_counter() < until:
        found.append(canary())
    return found
