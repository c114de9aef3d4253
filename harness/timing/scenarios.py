"""Load without a rate of its own, after MLPerf LoadGen: single stream, multi stream, offline.

A sample is one inference of the case at its shape. A percentile is told by LoadGen's early stopping: the number that it
is below with 99 % confidence, which is the (t + 1)th largest latency where t may lie above.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

from harness import stats
from harness.records import PERCENTILES, LatencyPlan, MultiStream, Trial
from harness.timing.lanes import Lane, closed_loop, open_loop

PROBES = 10
"""Queries at least that tell about how long a sample takes, and samples at least that tell a rate."""


@dataclass(frozen=True)
class Shown:
    """What a scenario showed."""

    measures: Mapping[str, float | None]
    trials: tuple[Trial, ...] = ()
    notes: tuple[str, ...] = ()


def at_most_ms(latencies_s: Sequence[float], allowed: int) -> float | None:
    """The (allowed + 1)th largest latency; None where there are too few."""
    if not 0 <= allowed < len(latencies_s):
        return None
    return sorted(latencies_s)[-(allowed + 1)] * 1e3


def median_s(latencies_s: Sequence[float]) -> float:
    """The median of latencies in any order."""
    return stats.median(sorted(latencies_s))


def sample_s(lanes: Sequence[Lane], warmup_s: float, most_s: float) -> float:
    """About how long a sample takes, once every lane has warmed up."""
    found = [closed_loop([lane], 1, least_s=warmup_s, count=PROBES, most_s=most_s) for lane in lanes]
    return median_s(found[-1][len(found[-1]) // 2 :])


def single_stream(lanes: Sequence[Lane], timing: LatencyPlan, most_s: float) -> Shown:
    """One query after the other, each of one sample, on the first lane."""
    return _stream("single_stream", "p90_ms", lanes[:1], 1, timing, most_s)


def multi_stream(lanes: Sequence[Lane], plan: MultiStream, timing: LatencyPlan, most_s: float) -> Shown:
    """One query after the other, whose samples the lanes share."""
    return _stream("multi_stream", "p99_ms", lanes, plan.samples, timing, most_s)


def _stream(
    name: str, percentile: str, lanes: Sequence[Lane], samples: int, timing: LatencyPlan, most_s: float
) -> Shown:
    share = PERCENTILES[percentile]
    count = max(stats.samples_for(share), timing.min_count)
    found = closed_loop(lanes, samples, least_s=timing.min_time_s, count=count, most_s=most_s)
    value = at_most_ms(found, stats.may_exceed(len(found), share))
    too_few = (
        f"serving: {name}: {len(found)} queries in {most_s:g} s are too few for a {percentile.removesuffix('_ms')}: "
        f"it needs {stats.samples_for(share)}, and a longer max_time_s gives more"
    )
    trial = Trial(name, None, len(found), median_s(found) * 1e3, value)
    return Shown({f"{name}_{percentile}": value}, (trial,), (too_few,) if value is None else ())


def offline(lanes: Sequence[Lane], each_s: float, timing: LatencyPlan, most_s: float) -> Shown:
    """All samples are due at once, as many as take `min_time_s` where one takes `each_s`; none begins after `most_s`.

    Lanes that share a processor take longer together than one alone told, so the time is looked at meanwhile.
    """
    wanted = max(PROBES, timing.min_count, math.ceil(timing.min_time_s * len(lanes) / each_s))
    done_s = open_loop(lanes, repeat(0.0, wanted), bound_s=most_s)
    if len(done_s) < PROBES:
        few = f"{len(done_s)} samples in {most_s:g} s are too few for a rate, and a longer max_time_s gives more"
        return Shown({"offline_per_s": None}, (), (f"serving: offline: {few}",))
    return offline_at(len(done_s) / max(done_s), len(done_s))


def offline_at(rate_per_s: float, count: int) -> Shown:
    """The rate at which so many samples were answered."""
    return Shown({"offline_per_s": rate_per_s}, (Trial("offline", rate_per_s, count, None, None),))
