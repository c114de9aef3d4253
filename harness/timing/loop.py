"""The timing loop: warm-up until settled, then iterations until both a time and a count are reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
TUKEY = 1.5
"""Interquartile ranges from the quartiles to the fences (Tukey, Exploratory Data Analysis, 1977)."""


def measure(step: Step, plan: LatencyPlan) -> Latency:
    """The latency of one synchronous iteration; the gate decides on the GPU's time where there is one."""
    return window(step, plan)[0]


def window(step: Step, plan: LatencyPlan) -> tuple[Latency, dict[str, float | None]]:
    """The latency, and on a GPU the medians of what it is made of.

    `enqueue_ms` is the host's time until the GPU had the work, `copy_in_ms`, `compute_ms` and `copy_out_ms` are the
    GPU's, where transfers are timed.
    """
    with timed(step) as lap, uncollected():
        laps = _window(lap, plan, scripted=step.scripted_ms is not None)
    host = quantiles([lap.host_ms for lap in laps])
    gpu = quantiles([lap.gpu_ms for lap in laps if lap.gpu_ms is not None])
    latency = Latency(host, gpu, "gpu" if gpu else "host", settings(plan))  # type: ignore[arg-type]
    return latency, _made_of(laps, [part.name for part in step.parts])


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


def _window(lap: Callable[[], Lap], plan: LatencyPlan, *, scripted: bool) -> list[Lap]:
    """Laps until time and count are both reached, after a warm-up until they have settled."""
    count = max(
        [plan.min_count, *(stats.samples_for(PERCENTILES[name]) for name in plan.budget if name in PERCENTILES)]
    )
    if scripted:
        return [lap() for _ in range(count)]
    if plan.warmup_s:
        settle(lap, plan.warmup_s, plan.warmup_s * MAX_WARMUP_FACTOR)
    laps: list[Lap] = []
    start = perf_counter()
    while True:
        laps.append(lap())
        elapsed = perf_counter() - start
        enough = elapsed >= plan.min_time_s and len(laps) >= count
        if enough or (elapsed >= plan.min_time_s * MAX_TIME_FACTOR and len(laps) > 1):
            return laps
