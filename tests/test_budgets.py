"""Absolute limits: on latency, and on what a case takes."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from builders import latency, quantiles
from harness.backends import BACKENDS
from harness.backends.base import Artefact, BuildSpec
from harness.judge import judge
from harness.judge.latency import Accepted, judge_latency
from harness.judge.resources import MEASURES, judge_resources
from harness.records import LatencyPlan, Measurement, Outcome
from harness.runner import footprint, tensors
from harness.runner import fresh as freshly
from harness.runner.fresh import fresh
from harness.store import read_run
from harness.suites.entries import ResourcesEntry
from models import conv_net
from plans import plan
from toy import harness


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


@pytest.mark.parametrize("name", ["cold_start_ms", "cold_load_ms", "process_mib", "model_mib"])
def test_what_every_case_has_does_not_pass_where_a_run_did_not_measure_it(name):
    (check,) = taken({}, **{name: 10.0})

    assert not check.ok
    assert "was not measured, so the limit of 10 " in check.reason
    assert [check.ok for check in taken({MEASURES[name][0]: 9.0}, **{name: 10.0})] == [True]


COLD = """
suite: cold
models:
  - name: net
    source: net.onnx
    backends: [onnxruntime-cpu]
    shapes: [{n: 2}]
    latency: {enabled: false}
    resources: {LIMITS}
"""


def cold(folder, limits):
    onnx.save(conv_net(), folder / "net.onnx")
    (folder / "pyproject.toml").touch()
    (folder / "s.yaml").write_text(COLD.replace("LIMITS", limits))
    status = harness(folder, "run", folder / "s.yaml", "-o", folder / "out", "-q")
    (record,) = read_run(folder / "out").records
    return status, record


def test_a_cold_start_is_that_of_a_whole_process(tmp_path):
    status, record = cold(tmp_path, "cold_start_ms: 60000, cold_load_ms: 60000, process_mib: 4000, model_mib: 1")
    measures = record.measures

    assert status == 0, record.headline
    assert {check.name for check in record.checks if check.question == "resource"} == {
        f"resource/{name}" for name in ("cold_start_ms", "cold_load_ms", "process_mib", "model_mib")
    }
    # Python itself takes some 10 ms and 10 MiB; the runtime is loaded anew, which in the worker it was before
    assert measures["cold_start_ms"] > measures["cold_load_ms"] + 10
    assert measures["cold_load_ms"] > 10 * measures["first_infer_ms"]
    assert measures["process_mib"] > 30 + measures["host_mib"]


def test_a_cold_start_above_its_limit_fails_the_case(tmp_path):
    status, record = cold(tmp_path, "cold_start_ms: 5")

    assert (status, record.status) == (1, "failed")
    assert record.headline.startswith("resource/cold_start_ms: cold start ")


def test_no_process_is_started_where_no_limit_asks_for_it(tmp_path):
    _, record = cold(tmp_path, "host_mib: 4000")

    assert "cold_start_ms" not in record.measures
    assert "cold_start_s" not in record.stages


def test_a_fresh_process_imports_nothing_from_the_working_folder(tmp_path, monkeypatch):
    """What a pull request brings is data, also where its suite sets a limit on the cold start."""
    (tmp_path / "onnxruntime.py").write_text("from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    status, record = cold(tmp_path, "cold_start_ms: 60000")

    assert not (tmp_path / "onnxruntime.ran").exists()
    assert status == 0, record.headline


def test_what_a_model_prints_does_not_hide_what_a_fresh_process_tells(tmp_path, monkeypatch, capfd):
    class Talkative:
        def open(self, *_):
            os.write(1, b"{loading ... 100 %")  # as native code does, and without an end of the line
            return self

        infer = close = lambda *_: None

    monkeypatch.setattr(BACKENDS, "load", lambda _: Talkative)
    tensors.save(tmp_path, [{"x": np.zeros(1, np.float32)}])
    spec = BuildSpec("c", tmp_path / "net.onnx", "fp32", {}, {}, {})
    asked = freshly._asked("talkative", Artefact(tmp_path / "net.onnx"), spec, str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    freshly.main()

    told = json.loads(freshly._last_answer(capfd.readouterr().out))
    assert set(told) == {"reading", "ready", "done", "peak_mib"}


def test_a_process_that_ends_before_its_first_answer_fails_the_limit_and_says_why(tmp_path):
    spec = BuildSpec("c", tmp_path / "gone.onnx", "fp32", {}, {}, {})
    found = fresh("onnxruntime-cpu", Artefact(tmp_path / "gone.onnx"), spec, {"x": np.zeros(1, np.float32)}, tmp_path)

    assert set(found.measures) == {"cold_start_ms", "cold_load_ms", "process_mib"}
    assert set(found.measures.values()) == {None}
    assert "does not get to its first inference: " in found.notes[0]
    assert "gone.onnx" in found.notes[0]
