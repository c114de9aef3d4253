"""Outputs that differ between identical runs: found on real sessions, judged, told."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from harness.backends.onnxruntime_session import HostSession
from harness.judge.stability import judge_stability
from harness.records import Measurement
from harness.runner.repeats import random_nodes
from harness.store import read_run
from models import conv_net
from plans import plan
from toy import harness

SUITE = """
suite: s
models:
  - name: m
    source: m.onnx
    shapes: [{n: 4}]
    latency: {enabled: false}
    {more}
"""


def noisy(path, **seed):
    """A model that adds random numbers to its input, x [n, 3] to y [n, 3], and passes x on as z."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"], name="noise", scale=0.1, **seed),
        helper.make_node("Add", ["x", "r"], ["y"]),
        helper.make_node("Relu", ["x"], ["z"]),
    ]
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in "xyz"}
    graph = helper.make_graph(nodes, "g", [values["x"]], [values["y"], values["z"]])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def measured(folder, more="tags: []", status=0):
    """The record of the suite's only case after `harness run`."""
    (folder / "suite.yaml").write_text(SUITE.replace("{more}", more))
    assert harness(folder, "run", "suite.yaml", "-o", "out", "--keep-outputs") == status
    return read_run(folder / "out").records[0]


def stable(record):
    return {check.output: check for check in record.checks if check.name.endswith("/reference_stable")}


def test_an_output_of_random_numbers_without_a_seed_fails_and_the_reason_says_what_to_do(folder):
    noisy(folder / "m.onnx")

    record = measured(folder, status=1)

    check = stable(record)["y"]
    assert (record.status, check.ok, stable(record)["z"].ok) == ("failed", False, True)
    assert record.headline.startswith(
        "fidelity: y/reference_stable: two runs of the reference on the same inputs differ by up to"
    )
    assert "without a seed: RandomNormalLike 'noise'" in check.reason
    assert "give its random operators a seed, exclude the case, or set limits" in check.reason
    assert 0.01 < check.value < 1


def test_a_seed_makes_it_stable_although_the_generator_goes_on_within_a_session(folder):
    noisy(folder / "m.onnx", seed=3.0)

    record = measured(folder)

    assert [check.ok for check in stable(record).values()] == [True, True]
    found = {m.output: m.value for m in record.measurements if m.metric == "repeatable"}
    assert found["y"] > 0.01
    assert found["z"] == 0
    assert any(
        note.startswith("two runs of the candidate on the same inputs differ most in 'y'") for note in record.notes
    )


@pytest.mark.parametrize(
    ("limits", "ok"),
    [("max_abs: 2.0", True), ("max_abs: 1.0e-4", False), ("atol: 2.0", True), ("atol: 2.0, cosine_min: 1.0", False)],
)
def test_limits_of_the_output_decide_whether_they_allow_what_differs(folder, limits, ok):
    noisy(folder / "m.onnx")

    record = measured(folder, f"accuracy: {{outputs: {{y: {{{limits}}}}}}}", status=int(not ok))

    assert stable(record)["y"].ok is ok
    assert ("within this output's own limits" in stable(record)["y"].reason) is ok


@pytest.mark.parametrize(("limits", "status"), [("max_abs: 2.0", 0), ("atol: 2.0", 0), ("atol: 1.0e-4", 1)])
def test_stored_measurements_are_enough_to_judge_stability_under_other_limits(folder, limits, status):
    noisy(folder / "m.onnx")
    measured(folder, status=1)
    (folder / "suite.yaml").write_text(SUITE.replace("{more}", f"accuracy: {{outputs: {{y: {{{limits}}}}}}}"))

    assert harness(folder, "judge", "out", "-o", "judged") == status

    assert stable(read_run(folder / "judged").records[0])["y"].ok is (status == 0)


def test_a_kernel_that_gives_something_else_each_time_is_unstable_whatever_the_seeds(tmp_path, monkeypatch):
    from harness.records import LatencyPlan, Source
    from harness.runner.steps import Steps

    onnx.save(conv_net(), tmp_path / "m.onnx")
    made = plan(
        source=Source("file", str(tmp_path / "m.onnx")), dimensions={"n": 4}, latency=LatencyPlan(enabled=False)
    )
    made = replace(made, case=replace(made.case, backend="onnxruntime-cpu"))
    healthy, runs = HostSession.infer, count()
    monkeypatch.setattr(
        HostSession, "infer", lambda self, feeds: {k: v + 1e-3 * next(runs) for k, v in healthy(self, feeds).items()}
    )
    steps = Steps(tmp_path / "cache", tmp_path, lambda _: None)
    steps.reference(made, tmp_path / "reference")

    outcome = steps.measure(made, tmp_path / "reference", None, None)

    check = {check.name: check for check in judge_stability(made, outcome.measurements)}["logits/reference_stable"]
    assert not check.ok
    assert check.value == pytest.approx(1e-3, rel=0.01)
    assert [m.value for m in outcome.measurements if m.metric == "repeatable"] == [pytest.approx(1e-3, rel=0.01)]


def test_random_nodes_are_told_by_type_and_name(tmp_path):
    noisy(tmp_path / "free.onnx")
    noisy(tmp_path / "seeded.onnx", seed=1.0)

    assert random_nodes(tmp_path / "free.onnx") == (["RandomNormalLike 'noise'"], [])
    assert random_nodes(tmp_path / "seeded.onnx") == ([], ["RandomNormalLike 'noise'"])


def test_runs_of_unlike_shape_never_pass_however_wide_the_limits():
    measured = [
        Measurement("y", "reference_repeat", None),
        Measurement("y", "again:shape_mismatches", 1.0, detail="expected [3], found [4]"),
    ]

    (check,) = judge_stability(plan(limits={"max_abs": np.inf}), measured)

    assert not check.ok
    assert "expected [3], found [4]" in check.reason
