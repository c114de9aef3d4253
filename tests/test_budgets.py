"""Absolute limits: on latency, and on what a case takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import latency, quantiles
from harness.judge.latency import Accepted, judge_latency
from harness.records import LatencyPlan


def checks(samples, **budget):
    now = replace(latency(1.0), gpu=replace(quantiles(1.0), samples=samples))
    return judge_latency(LatencyPlan(budget=budget), now, Accepted())[0]


def test_a_percentile_within_its_limit_does_not_pass_on_too_few_samples():
    (check,) = checks(661, p99_ms=2.0)

    assert not check.ok
    assert check.reason == (
        "p99 1.31 ms <= 2 ms, but of 661 samples that is not known: it needs 662; a longer min_time_s gives more"
    )


@pytest.mark.parametrize(("samples", "budget"), [(662, {"p99_ms": 2.0}), (64, {"p90_ms": 2.0}), (6, {"p50_ms": 2.0})])
def test_a_percentile_within_its_limit_passes_on_enough_samples(samples, budget):
    assert [check.ok for check in checks(samples, **budget)] == [True]


def test_a_percentile_above_its_limit_fails_on_any_number_of_samples():
    (check,) = checks(1000, p99_ms=1.0)

    assert not check.ok
    assert check.reason == "p99 1.31 ms > 1 ms"
