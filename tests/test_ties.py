"""Outputs that choose an index: where two scores are nearly equal, either index is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.judge import judge
from harness.metrics.compare import compare
from harness.records import LatencyPlan, Outcome, Source
from harness.runner import twin_files
from harness.runner.steps import Steps
from harness.runner.ties import Ties, against_reference, beyond, choosers
from harness.runner.twins import measure
from plans import plan

RNG = np.random.default_rng(0)
node = helper.make_node
SCORES = np.array([[1.0, 1.001, 0.2, 3.0], [0.5, 2.0, 2.5, 0.1]], np.float32)


def model(*tail, k=None, final="index"):
    """x [n, 8] -> scores of 6 classes -> an index."""
    weights = [numpy_helper.from_array(RNG.normal(size=(8, 6)).astype(np.float32), "w")]
    weights += [numpy_helper.from_array(np.array([k], np.int64), "k")] if k else []
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])
    y = helper.make_tensor_value_info(final, TensorProto.INT64, None)
    made = helper.make_graph([node("MatMul", ["x", "w"], ["scores"]), *tail], "g", [x], [y], weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("tail", "k", "axis"),
    [
        ([node("ArgMax", ["scores"], ["index"], axis=1)], None, 1),
        ([node("ArgMin", ["scores"], ["a"], axis=-1), node("Cast", ["a"], ["index"], to=TensorProto.INT32)], None, -1),
        ([node("TopK", ["scores", "k"], ["values", "a"]), node("Identity", ["a"], ["index"])], 2, -1),
    ],
)
def test_an_index_is_traced_to_its_scores_through_what_keeps_the_order(tail, k, axis):
    assert choosers(model(*tail, k=k)) == {"index": ("scores", axis)}


def test_an_index_behind_what_changes_the_order_is_not_traced():
    tail = [node("TopK", ["scores", "k"], ["values", "a"]), node("Transpose", ["a"], ["index"])]

    assert choosers(model(*tail, k=2)) == {}


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ([[3, 1], [2, 1]], 0),
        ([[3, 0], [2, 1]], 0),  # 1.0 for 1.001
        ([[3, 2], [2, 1]], 1),  # 0.2 for 1.001
        ([[1, 3], [2, 1]], 2),
        ([[3, 9], [2, 1]], 1),  # there is no such class
        ([[3, 3], [2, 1]], 1),  # the same twice
    ],
)
def test_only_near_scores_may_change_places(found, wrong):
    ties = Ties(axis=-1, reach=0.01, scores=[SCORES])

    differ, margin = beyond(ties, 0, np.array([[3, 1], [2, 1]]), np.array(found))

    assert np.count_nonzero(differ) == wrong
    assert margin <= 0.01


def test_the_axis_may_be_any_and_may_be_squeezed_away():
    ties = Ties(axis=0, reach=0.01, scores=[np.ascontiguousarray(SCORES.T)])

    differ, margin = beyond(ties, 0, np.array([3, 2]), np.array([3, 1]))

    assert differ.tolist() == [False, True]
    assert margin == 0.0


@pytest.fixture
def twin(tmp_path):
    """The twin of an ArgMax in fp16 over inputs of which two rows are nearly tied."""
    made = model(node("ArgMax", ["scores"], ["index"], axis=1, keepdims=0))
    onnx.save(made, tmp_path / "m.onnx")
    asked = plan("fp16", source=Source("file", str(tmp_path / "m.onnx")), dimensions={"n": 64})
    Steps(tmp_path / "cache", tmp_path, lambda _: None).twin(asked, tmp_path / "twin")
    return replace(asked, latency=LatencyPlan(enabled=False)), twin_files.kept(tmp_path / "twin")[0]


def flipped(twin, *, far):
    """The twin's indices with one changed: to the runner-up where the two best are nearest, or to the worst."""
    scores, index = np.array(twin.ties["index"].scores[0]), np.array(twin.outputs[0]["index"])
    order = np.argsort(scores, axis=1)
    gaps = np.take_along_axis(scores, order[:, -1:], 1) - np.take_along_axis(scores, order[:, -2:-1], 1)
    row = int(np.argmin(gaps))
    index[row] = order[row, 0 if far else -2]
    return index, float(gaps[row, 0])


def verdict(asked, twin, index):
    outputs = {"index": index}
    expected = [{"index": np.array(twin.outputs[0]["index"])}]
    found = compare(asked, expected, [outputs]) + tuple(against_reference(twin.ties, expected, [outputs]))
    made = judge(asked, Outcome(measurements=found + measure(twin, [outputs])), known=False)
    return made, [check.name for check in made.checks if not check.ok]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_index_that_flips_between_scores_that_rounding_reverses_is_no_defect_of_the_backend(twin, precision):
    asked, made = twin
    asked = replace(asked, case=replace(asked.case, precision=precision))
    tied = replace(made.ties["index"], reach=2 * flipped(made, far=False)[1])
    made = replace(made, ties={"index": tied}, steady={"index": [np.ones(64, bool)]})

    told, failed = verdict(asked, made, flipped(made, far=False)[0])

    assert failed == ([] if precision == "fp32" else ["index/exact"])  # the budget asks about the file, not the backend
    (check,) = [check for check in told.checks if check.name == "index/exact"]
    assert "1 differ, of 64 elements; 1 choose between scores at most" in check.reason


def test_an_index_that_no_rounding_explains_fails_and_says_how_near_scores_may_be(twin):
    asked, made = twin

    told, failed = verdict(asked, made, flipped(made, far=True)[0])

    assert set(failed) == {"index/exact", "index/twin_flips"}
    assert made.ties["index"].reach > 0
    (check,) = [check for check in told.checks if check.name == "index/exact"]
    assert f"no two scores are within {made.ties['index'].reach:.3g}" in check.reason


def test_limits_of_one_s_own_stay_exact(twin):
    asked, made = twin
    near = flipped(made, far=False)
    tied = {"index": replace(made.ties["index"], reach=2 * near[1])}

    _, failed = verdict(replace(asked, output_limits={"index": {"exact": True}}), replace(made, ties=tied), near[0])

    assert "index/exact" in failed
