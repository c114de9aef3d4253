"""The timing loop and its statistics."""

from __future__ import annotations

import time
from itertools import count

import numpy as np
import pytest

from harness import stats
from harness.backends.base import Step
from harness.records import LatencyPlan
from harness.timing.laps import Lap
from harness.timing.loop import measure
from harness.timing.settle import settle


def test_a_window_lasts_at_least_its_time_and_its_count():
    calls = count()
    step = Step(lambda _: next(calls))

    by_time = measure(step, LatencyPlan(min_time_s=0.05, min_count=1, warmup_s=0))
    by_count = measure(step, LatencyPlan(min_time_s=0.02, min_count=50_000, warmup_s=0))

    assert by_time.host.samples > 100
    assert by_count.host.samples >= 50_000
    assert next(calls) >= by_time.host.samples + by_count.host.samples


def test_host_latency_is_the_time_of_one_iteration():
    latency = measure(Step(lambda _: time.sleep(0.002)), LatencyPlan(min_time_s=0.02, min_count=5, warmup_s=0))

    assert 2.0 <= latency.host.p50_ms < 20
    assert latency.gpu is None
    assert latency.decided_on == "host"


def test_a_step_that_is_too_slow_for_its_count_ends_all_the_same():
    latency = measure(Step(lambda _: time.sleep(0.01)), LatencyPlan(min_time_s=0.001, min_count=10**6, warmup_s=0))

    assert 2 <= latency.host.samples < 100


def test_a_scripted_clock_is_told_not_measured():
    durations = iter([1.0, 2.0, 3.0, 4.0, 5.0])
    latency = measure(Step(lambda _: None, scripted_ms=lambda: next(durations)), LatencyPlan(min_count=5))

    assert (latency.host.p50_ms, latency.host.mean_ms, latency.host.p99_ms) == (3.0, 3.0, 5.0)


def test_the_settings_of_the_window_are_in_the_result():
    latency = measure(Step(lambda _: None, scripted_ms=lambda: 1.0), LatencyPlan(min_count=7, min_time_s=0.5))

    assert latency.settings["min_count"] == 7
    assert latency.settings["min_time_s"] == 0.5
    assert latency.settings["cuda_graph"] is False


@pytest.mark.parametrize(("budget", "samples"), [({}, 5), ({"p90_ms": 9}, 64), ({"p50_ms": 9, "p99_ms": 9}, 662)])
def test_a_window_takes_the_samples_that_its_budget_needs(budget, samples):
    latency = measure(Step(lambda _: None, scripted_ms=lambda: 1.0), LatencyPlan(min_count=5, budget=budget))

    assert latency.host.samples == samples


@pytest.mark.parametrize("share", [0.9, 0.95, 0.97, 0.99])
def test_a_percentile_needs_the_fewest_samples_of_which_one_may_lie_above_its_limit(share):
    def chance_of_at_most_one(count):
        return share**count + count * (1 - share) * share ** (count - 1)

    needed = stats.samples_for(share)

    assert needed == {0.9: 64, 0.95: 130, 0.97: 219, 0.99: 662}[share]
    assert chance_of_at_most_one(needed) <= 0.01 < chance_of_at_most_one(needed - 1)


def falling(*durations_ms):
    told = iter(durations_ms)
    last = durations_ms[-1]
    return lambda: Lap(next(told, last), None)


def test_warm_up_lasts_until_four_blocks_agree():
    told = [ms for block in (8.0, 4.0, 2.0, 1.0, 1.01, 1.02, 1.03) for ms in [block] * 5]
    laps = count()
    lap = falling(*told, 99.0)

    assert settle(lambda: (next(laps), lap())[1], least_s=0.001) == 1.03
    assert next(laps) == 7 * 5


def test_warm_up_lasts_its_least_time_though_all_agrees():
    laps = count()

    settle(lambda: (next(laps), Lap(1.0, None))[1], least_s=0.1)

    assert next(laps) == 100


def test_warm_up_ends_though_nothing_settles():
    laps = count(1)

    settle(lambda: Lap(float(next(laps)), None), least_s=0.1, most_s=0.2)

    assert next(laps) < 40


def test_the_gpus_clock_decides_whether_a_step_has_settled():
    told = iter([Lap(1.0, ms) for block in (0.9, 0.5, 0.5, 0.5, 0.5) for ms in [block] * 5])

    assert settle(lambda: next(told), least_s=0.001) == 0.5
    assert next(told, None) is None


@pytest.mark.parametrize(("share", "expected"), [(0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10), (0.0, 1)])
def test_quantiles_are_nearest_rank(share, expected):
    assert stats.quantile(range(1, 11), share) == expected


def test_the_interval_of_the_median_covers_it_95_times_in_100():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        low, high = stats.median_interval(sorted(rng.exponential(size=99)))
        hits += low <= np.log(2) <= high
    assert 0.94 <= hits / 2000 <= 0.985


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_the_interval_of_few_samples_is_their_range(samples):
    ordered = list(range(samples))

    assert stats.median_interval(ordered) == (ordered[0], ordered[-1])
