"""Ways in which other tools pass a model that nothing was known about: each is a failure here, end to end."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.backends.onnxruntime_session import HostSession
from harness.errors import CaseError
from harness.judge import judge
from harness.records import LatencyPlan, Source
from harness.runner.steps import Steps
from harness.store import read_run
from plans import plan
from toy import fake_suite, harness

ORT = """
suite: s
models:
  - name: m
    source: {source}
    latency: {{enabled: false}}
    {more}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def save(path, nodes, inputs, outputs, **weights):
    """A model file; inputs and outputs map names to (element type, dims)."""
    values = [[helper.make_tensor_value_info(n, *kind) for n, kind in side.items()] for side in (inputs, outputs)]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", *values, stored)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


X = {"x": (TensorProto.FLOAT, ["n", 4])}
Y = {"y": (TensorProto.FLOAT, ["n", 4])}
RELU = [helper.make_node("Relu", ["x"], ["y"])]


def ort_run(folder, more="tags: []", source="m.onnx", expected=1):
    """The record of the only case of a suite on onnxruntime-cpu, after a run with this exit status."""
    (folder / "suite.yaml").write_text(ORT.format(source=source, more=more))
    assert harness(folder, "run", "suite.yaml", "-o", "out") == expected
    return read_run(folder / "out").records[0]


def fake_run(folder, script, more="", expected=1):
    """The first record of a suite on the fake backend, after a run with this exit status."""
    suite = fake_suite(folder, script)
    suite.write_text(suite.read_text().replace("n: 3}]}", f"n: 3}}]{more}}}"))
    assert harness(folder, "run", suite, "-o", "out") == expected
    return read_run(folder / "out").records[0]


def failing(record):
    return [check.name for check in record.checks if not check.ok]


def test_an_output_that_the_candidate_lacks(folder):
    record = fake_run(folder, "cases: [{outputs: {y: {drop: true}}}]")

    assert record.status == "failed"
    assert "outputs/missing_outputs: missing outputs: y" in record.headline


def test_output_names_that_do_not_match_those_of_the_reference(folder):
    save(folder / "m.onnx", RELU, X, Y)
    np.savez(folder / "ref.npz", Y=np.zeros((1, 4), np.float32))

    record = ort_run(folder, "reference: {file: ref.npz}")

    assert (record.status, record.error.kind) == ("error", "input")
    assert "'y'" in record.headline


def test_a_limit_for_an_output_that_does_not_exist(folder):
    assert "logits/measured" in failing(fake_run(folder, "cases: []", ", accuracy: {outputs: {logits: {max_abs: 1}}}"))


@pytest.mark.parametrize("rows", ["slice: [5, 5]", "slice: [9, 20]", "key: empty"])
def test_no_batch_at_all(folder, rows):
    save(folder / "m.onnx", RELU, X, Y)
    np.savez(folder / "d.npz", x=np.ones((6, 4), np.float32), empty=np.ones((0, 4), np.float32))
    more = rows if "key" in rows else f"key: x, {rows}"

    record = ort_run(folder, f"inputs: {{x: {{file: d.npz, {more}}}}}")

    assert (record.status, record.error.kind) == ("error", "input")
    assert "nothing would be compared" in record.headline


def test_fewer_batches_in_the_reference_than_in_the_inputs(folder):
    save(folder / "m.onnx", RELU, X, Y)
    rows = np.ones((6, 4), np.float32)
    np.savez(folder / "d.npz", x=rows, y=rows[:4])
    more = "shapes: [{n: 2}]\n    inputs: {x: {file: d.npz, key: x}}\n    reference: {file: d.npz}"

    assert ort_run(folder, more).status in ("error", "failed")


def test_one_nan_where_the_reference_is_finite(folder):
    assert "y/nonfinite" in failing(fake_run(folder, "cases: [{outputs: {y: {nan_at: 2}}}]"))


def test_nothing_but_nan_in_reference_and_candidate(folder):
    save(folder / "m.onnx", [helper.make_node("Sqrt", ["k"], ["m"]), helper.make_node("Add", ["x", "m"], ["y"])],
         X, Y, k=np.float32(-1))  # fmt: skip

    assert "y/nothing_finite" in failing(ort_run(folder))


def test_a_metric_that_does_not_exist_for_this_shape(folder):
    save(
        folder / "m.onnx", [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], X, {"y": (TensorProto.FLOAT, [])}
    )

    record = ort_run(folder, "accuracy: {outputs: {y: {argmax_agreement_min: 0.9}}}")

    assert failing(record) == ["y/argmax_agreement_min"]
    assert "absence never passes" in record.headline


def test_a_metric_that_cannot_be_measured_on_this_type(folder):
    kinds = {"y": (TensorProto.STRING, ["n"])}
    save(folder / "m.onnx", [helper.make_node("Identity", ["x"], ["y"])], {"x": kinds["y"]}, kinds)
    np.save(folder / "x.npy", np.array(["a", "b"]))

    record = ort_run(folder, "inputs: {x: {file: x.npy}}\n    accuracy: {outputs: {y: {cosine_min: 0.9}}}")

    assert failing(record) == ["y/cosine_min"]


@pytest.mark.parametrize("limit", [".inf", ".nan"])
def test_a_limit_that_nothing_exceeds(folder, limit):
    suite = fake_suite(folder)
    suite.write_text(suite.read_text().replace("n: 3}]}", f"n: 3}}], accuracy: {{max_abs: {limit}}}}}"))

    assert harness(folder, "run", suite, "-o", "out") == 2


def test_outputs_without_any_element(folder):
    nodes = [helper.make_node("Slice", ["x", "k", "k"], ["y"])]
    save(folder / "m.onnx", nodes, X, {"y": (TensorProto.FLOAT, [None, 4])}, k=np.array([0], np.int64))

    record = ort_run(folder)

    assert failing(record) == ["outputs/elements"]
    assert "every output is empty" in record.headline


def test_every_case_skipped(folder):
    assert fake_run(folder, "cases: [{unsupported: nothing works}]").status == "skipped"


def test_no_case_selected(folder):
    suite = fake_suite(folder)

    assert harness(folder, "run", suite, "-k", "nothing-of-this-name", "-o", "out") == 2


def test_a_case_that_nothing_compares_has_no_passing_verdict():
    from harness.records import Outcome

    assert judge(plan(), Outcome(), known=True).status == "failed"


DTYPES = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float64", "int64", "int32", "uint8", "int4", "bool")


class Candidate:
    """A one-node model on onnxruntime-cpu, whose reference and candidate answer what the test gives them."""

    def __init__(self, folder, monkeypatch):
        save(folder / "m.onnx", RELU, X, Y)
        made = plan(source=Source("file", str(folder / "m.onnx")), latency=LatencyPlan(enabled=False))
        self.plan = replace(made, case=replace(made.case, backend="onnxruntime-cpu"))
        self._folder, self._patch = folder, monkeypatch
        self._steps = Steps(folder / "cache", folder, lambda _: None)

    def answers(self, give):
        self._patch.setattr(HostSession, "infer", lambda _, feeds: {"y": give(feeds["x"])})

    def reference(self):
        self._steps.reference(self.plan, self._folder / "reference")

    def status(self):
        outcome = self._steps.measure(self.plan, self._folder / "reference", None, None)
        return judge(self.plan, outcome, known=True).status


@pytest.fixture
def candidate(tmp_path, monkeypatch):
    return Candidate(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", DTYPES)
def test_wrong_values_of_a_type_that_other_tools_skip(candidate, name):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    candidate.answers(lambda _: np.array([[1, 0, 1, 1]]).astype(dtype))
    candidate.reference()
    assert candidate.status() == "passed"

    candidate.answers(lambda _: np.array([[1, 1, 0, 1]]).astype(dtype))

    assert candidate.status() == "failed"


def test_outputs_in_memory_that_the_next_batch_overwrites(candidate):
    held = np.zeros((1, 4), np.float32)
    candidate.reference()
    candidate.answers(lambda x: np.copyto(held, x) or held)

    with pytest.raises(CaseError, match="must copy its outputs"):
        candidate.status()


def test_a_reference_of_the_same_backend_and_precision_is_no_mirror(candidate):
    candidate.reference()
    candidate.answers(lambda x: np.maximum(x, 0) + 1)

    assert candidate.status() == "failed"
