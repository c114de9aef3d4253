"""Absolute limits: on latency, and on what a case takes."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from builders import latency, quantiles
from harness.judge import judge
from harness.judge.latency import Accepted, judge_latency
from harness.judge.resources import MEASURES, judge_resources
from harness.records import LatencyPlan, Measurement, Outcome
from harness.runner import footprint
from harness.suites.entries import ResourcesEntry
from plans import plan


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


def taken(measures, **resources):
    return list(judge_resources(plan(resources=resources), Outcome(measures=measures)))


def test_a_limit_on_the_engine_is_in_mib_and_its_measure_in_bytes():
    (fits,) = taken({"engine_bytes": 25 * 2**20}, engine_mib=25)
    (grown,) = taken({"engine_bytes": 25 * 2**20}, engine_mib=24)

    assert (fits.name, fits.question, fits.value, fits.limit, fits.ok) == (
        "resource/engine_mib", "resource", 25.0, 25, True,
    )  # fmt: skip
    assert not grown.ok
    assert grown.reason == "engine 25 MiB > 24 MiB"


@pytest.mark.parametrize("name", ["build_s", "device_mib", "host_mib", "first_infer_ms"])
def test_each_limit_is_compared_with_its_measure(name):
    assert [check.ok for check in taken({name: 10.0}, **{name: 10.0})] == [True]
    assert [check.ok for check in taken({name: 10.1}, **{name: 10.0})] == [False]


def test_what_a_case_does_not_have_has_no_check():
    assert taken({"host_mib": 3.0, "first_infer_ms": 1.0}, engine_mib=1, build_s=1, device_mib=1) == []


def test_what_a_machine_does_not_tell_does_not_pass():
    (check,) = taken({"device_mib": None}, device_mib=512)

    assert not check.ok
    assert check.reason == "GPU's memory: this machine does not tell it, so the limit of 512 MiB cannot be checked"


def test_a_case_that_takes_too_much_is_failed():
    outcome = Outcome(
        measurements=(Measurement("y", "max_abs", 0.0),), latency=latency(), measures={"host_mib": 900.0},
    )  # fmt: skip
    verdict = judge(plan(resources={"host_mib": 800.0}, limits={"max_abs": 1.0}), outcome, known=False)

    assert verdict.status == "failed"
    assert "resource/host_mib: host's memory 900 MiB > 800 MiB" in verdict.headline


def test_every_limit_of_a_suite_has_its_measure():
    assert set(ResourcesEntry.model_fields) == set(MEASURES)


def test_the_host_s_memory_is_the_peak_above_what_was_there():
    begun = footprint.before(None)
    held = np.ones(64 << 20, np.uint8)
    del held
    found = footprint.taken(begun)

    assert set(found) == {"host_mib"}
    assert found["host_mib"] is None or 60 < found["host_mib"] < 96


def test_each_case_begins_with_a_peak_of_its_own():
    large = footprint.before(None)
    held = np.ones(64 << 20, np.uint8)
    del held
    footprint.taken(large)
    small = footprint.taken(footprint.before(None))

    assert small["host_mib"] is None or small["host_mib"] < 16


def test_a_gpu_s_memory_is_that_of_the_process_or_else_all_that_grew(monkeypatch):
    in_use = iter([1000.0, 1000.0, 1300.0])
    monkeypatch.setattr("harness.backends.cuda.used_mib", lambda: next(in_use))
    monkeypatch.setitem(sys.modules, "pynvml", None)

    assert footprint.taken(footprint.before("GPU-1"))["device_mib"] == 300.0
