"""Rows of a batch in other places: defects are found, and models whose rows depend on each other are left alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.backends.onnxruntime_session import HostSession
from harness.judge.fidelity import judge_fidelity
from harness.judge.invariance import judge_invariance
from harness.records import FidelityPlan, LatencyPlan, Source
from harness.runner.invariance import moves
from harness.runner.steps import Steps
from harness.runner.twin_files import kept
from harness.sources.inspect import ModelInfo, TensorInfo
from harness.suites import load
from models import attention, conv_net
from plans import plan

HEALTHY = HostSession.infer


@pytest.fixture
def case(tmp_path, monkeypatch):
    """Measures a model on onnxruntime-cpu with its candidate's outputs changed; gives the invariance checks."""

    def measured(model, precision="fp32", change=None, **changes):
        onnx.save(model, tmp_path / "m.onnx")
        made = plan(precision, source=Source("file", str(tmp_path / "m.onnx")), **{"dimensions": {"n": 5}, **changes})
        made = replace(made, case=replace(made.case, backend="onnxruntime-cpu"), latency=LatencyPlan(enabled=False))
        steps = Steps(tmp_path / "cache", tmp_path, lambda _: None)
        steps.reference(made, tmp_path / "reference")
        steps.twin(made, tmp_path / "twin")
        if change:
            monkeypatch.setattr(HostSession, "infer", lambda self, feeds: change(feeds, HEALTHY(self, feeds)))
        outcome = steps.measure(made, tmp_path / "reference", tmp_path / "twin", None)
        measured.fidelity = [check.name for check in judge_fidelity(made, outcome.measurements) if not check.ok]
        return {check.name: check for check in judge_invariance(made, outcome.measurements)}

    measured.notes = lambda: "; ".join(kept(tmp_path / "twin")[0].notes)
    return measured


def failing(checks):
    return sorted(name for name, check in checks.items() if not check.ok)


def graph(nodes, inputs, outputs, **weights):
    """A model; inputs and outputs map names to (element type, dims)."""
    values = [[helper.make_tensor_value_info(n, *kind) for n, kind in side.items()] for side in (inputs, outputs)]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    return helper.make_model(
        helper.make_graph(nodes, "g", *values, stored), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )


X = {"x": (TensorProto.FLOAT, ["n", 6])}
Y = {"y": (TensorProto.FLOAT, ["n", 6])}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "as-is"])
def test_a_healthy_backend_passes_both_checks(case, precision):
    checks = case(conv_net(), precision)

    assert sorted(checks) == ["logits/batch_padding", "logits/batch_position"]
    assert failing(checks) == []


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_attention_within_rows_passes(case, precision):
    checks = case(attention(), precision, dimensions={"n": 5, "seq": 7})

    assert len(checks) == 2
    assert failing(checks) == []


def test_a_defect_of_one_place_in_the_batch_is_found_although_the_straight_run_is_right(case):
    straight = []

    def change(feeds, outputs):
        straight.append(feeds["image"])
        wrong = feeds["image"].shape != straight[0].shape or np.any(feeds["image"] != straight[0])
        return {
            "logits": outputs["logits"] * np.array([[1 + 0.05 * wrong]] + [[1]] * (len(outputs["logits"]) - 1), "f4")
        }

    checks = case(conv_net(), "fp16", change, fidelity=FidelityPlan(samples=1))

    assert case.fidelity == []
    assert failing(checks) == ["logits/batch_padding", "logits/batch_position"]
    assert "most at row 4" in checks["logits/batch_position"].reason
    assert "most at row 0" in checks["logits/batch_padding"].reason


def test_rows_that_depend_on_how_many_there_are_are_found(case):
    checks = case(conv_net(), change=lambda _, out: {"logits": out["logits"] * (1 + (len(out["logits"]) == 4))})

    assert failing(checks) == ["logits/batch_padding"]


def test_integers_must_be_the_same(case):
    model = graph([helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)], X, {"y": (TensorProto.INT64, ["n"])})
    healthy = case(model)

    broken = case(model, change=lambda _, out: {"y": np.arange(len(out["y"]))})

    assert failing(healthy) == []
    assert failing(broken) == ["y/batch_position"]
    assert "other elements" in broken["y/batch_position"].reason


MIXING = {
    "the mean over the batch": [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), helper.make_node("Sub", ["x", "m"], ["y"])
    ],
    "a running sum": [helper.make_node("CumSum", ["x", "zero"], ["y"])],
    "a softmax over the batch": [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
}  # fmt: skip


@pytest.mark.parametrize("name", MIXING)
def test_models_whose_rows_depend_on_each_other_are_left_alone_and_the_twin_says_so(case, name):
    checks = case(graph(MIXING[name], X, Y, zero=np.int64(0)))

    assert failing(checks) == []
    assert "y/batch_padding" not in checks or name == "a running sum"  # no row of a sum depends on a later one
    assert "is not judged on 'y': rows depend on each other in the model" in case.notes()


def test_a_model_that_does_not_take_a_smaller_batch_is_left_alone(case):
    nodes = [helper.make_node("Gather", ["x", "last"], ["row"]), helper.make_node("Add", ["x", "row"], ["y"])]

    checks = case(graph(nodes, X, Y, last=np.int64(4)))

    assert checks == {}
    assert "batch_padding is not judged: the precision twin refuses the batch" in case.notes()


def test_random_numbers_make_no_alarm(case):
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]

    assert failing(case(graph(nodes, X, Y))) == []


def test_one_row_or_switched_off_is_not_run_again(case):
    assert case(conv_net(), dimensions={"n": 1}) == {}
    assert case(conv_net(), fidelity=FidelityPlan(batch=False)) == {}


def info(**inputs):
    return ModelInfo(tuple(TensorInfo(name, "float32", dims) for name, dims in inputs.items()), (), 17)


def test_all_inputs_that_share_the_dynamic_axis_are_moved_together():
    batch = {"a": np.arange(3), "b": np.arange(6).reshape(3, 2), "c": np.arange(3)}

    position, padding = moves(info(a=("n",), b=("n", 2), c=(3,)), batch)

    assert position.feeds["a"].tolist() == [2, 1, 0]
    assert position.feeds["b"].tolist() == [[4, 5], [2, 3], [0, 1]]
    assert position.feeds["c"].tolist() == [0, 1, 2]
    assert padding.feeds["a"].tolist() == [0, 1]


@pytest.mark.parametrize("dims", [(3, 2), (), None])
def test_without_a_dynamic_first_axis_nothing_is_moved(dims):
    assert moves(info(a=dims), {"a": np.zeros(dims or (3,))}) == ()


def test_an_axis_that_is_also_another_one_is_not_moved():
    assert moves(info(a=("n", "n")), {"a": np.zeros((3, 3))}) == ()


def test_a_batch_that_an_engine_does_not_take_is_told_by_its_profile():
    position, padding = moves(info(a=("n", 2)), {"a": np.zeros((4, 2))})

    assert position.fits({"a": ((4, 2), (4, 2), (8, 2))})
    assert not padding.fits({"a": ((4, 2), (4, 2), (8, 2))})
    assert padding.fits({"a": ((1, 2), (4, 2), (8, 2))})


def test_the_suite_switches_it_off(tmp_path):
    (tmp_path / "m.onnx").touch()
    text = "suite: s\nmodels: [{name: m, source: m.onnx, invariance: {batch: %s}}]"
    for value in (True, False):
        (tmp_path / "suite.yaml").write_text(text % str(value).lower())
        assert load([tmp_path / "suite.yaml"])[0].fidelity.batch is value
