"""Real models on ONNX Runtime's CPU provider, from suite to verdict."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.records import Failure
from harness.runner.client import WorkerFailed, WorkerProcess
from harness.store import read_run
from pages import details
from toy import harness

DIGITS = Path(__file__).parents[1] / "suites/digits"
SUITE = """
suite: real
models:
  - name: digits-cnn
    source: digits_cnn.onnx
    {more}
    shapes: [{{n: 64}}]
    inputs: {{image: {{file: digits.npz, key: images}}}}
    latency: {{min_time_s: 0.02, warmup_s: 0.01}}
    options: {{onnxruntime-cpu: {{threads: 1}}}}
    precisions: [{precisions}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").touch()
    for name in ("digits_cnn.onnx", "digits.npz"):
        shutil.copy(DIGITS / name, tmp_path)
    return tmp_path


def suite(folder: Path, more: str = "", precisions: str = "fp32") -> Path:
    path = folder / "real.yaml"
    path.write_text(SUITE.format(more=more, precisions=precisions))
    return path


def record(folder: Path):
    return read_run(folder / "out").records[0]


def test_the_digits_suite_measures_three_precisions_and_skips_the_others_with_a_reason(folder, tmp_path):
    whole = (DIGITS / "digits.yaml").read_text()
    shorter = whole.replace("latency: {", "latency: {min_time_s: 0.02, warmup_s: 0.01, ")
    assert shorter != whole
    (folder / "digits.yaml").write_text(shorter)
    assert harness(folder, "run", "digits.yaml", "-k", "onnxruntime-cpu", "-o", "out") == 0

    found = {(r.case.precision, r.status) for r in read_run(tmp_path / "out").records}
    assert found == {("fp32", "new"), ("fp16", "new"), ("int8", "new"), ("tf32", "skipped"), ("bf16", "skipped")}
    skipped = {r.case.precision: r.headline for r in read_run(tmp_path / "out").records if r.status == "skipped"}
    assert "NOT_IMPLEMENTED" in skipped["bf16"]
    assert skipped["tf32"].startswith("CPUs have no TF32")


def test_a_changed_weight_fails_against_a_stored_reference(folder):
    session = onnxruntime.InferenceSession("digits_cnn.onnx", providers=["CPUExecutionProvider"])
    np.savez("reference.npz", logits=session.run(["logits"], {"image": np.load("digits.npz")["images"]})[0])
    path = suite(folder, "reference: {file: reference.npz}")
    assert harness(folder, "run", path, "-o", "before") == 0

    model = onnx.load("digits_cnn.onnx")
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(weight).copy()
    values.ravel()[:100] += 0.5
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, "digits_cnn.onnx")

    assert harness(folder, "run", path, "-o", "out") == 1
    assert record(folder).headline.startswith("budget: logits/cosine_min: cosine 0.")
    assert "&lt; 0.9999" in (folder / "out/report.html").read_text()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_case_of_the_reference_itself_is_a_comparison_not_a_mirror(folder, precision):
    more = "int8: {calibration: {file: digits.npz, key: calibration, samples: 32}}"
    assert harness(folder, "run", suite(folder, more, precision), "-o", "out") == 0

    sqnr = next(m.value for m in record(folder).measurements if m.metric == "sqnr_db")
    assert 20 < sqnr < 200


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ("sha256: '" + "0" * 64 + "'", 1, "its SHA-256 is"),
        (
            "accuracy: {outputs: {logit: {atol: 1}}}",
            1,
            "a limit is set for 'logit', but there is no such output, did you mean 'logits'?",
        ),
    ],
)
def test_a_wrong_statement_about_the_model_is_an_error_of_the_case(folder, more, status, words):
    assert harness(folder, "run", suite(folder, more), "-o", "out") == status

    assert words in record(folder).headline


def test_a_truncated_model_is_an_input_error(folder):
    (folder / "digits_cnn.onnx").write_bytes((DIGITS / "digits_cnn.onnx").read_bytes()[:50_000])

    assert harness(folder, "run", suite(folder), "-o", "out") == 1

    assert (record(folder).status, record(folder).error.kind) == ("error", "input")
    assert "digits_cnn.onnx" in record(folder).headline


def test_inputs_of_the_wrong_shape_are_an_input_error_that_names_both_shapes(folder):
    np.savez("digits.npz", images=np.zeros((10, 1, 9, 9), np.float32))

    assert harness(folder, "run", suite(folder), "-o", "out") == 1

    assert record(folder).error.kind == "input"
    assert "[n, 1, 8, 8]" in record(folder).headline or "1, 8, 8" in record(folder).headline


def test_a_model_file_that_is_missing_stops_everything(folder, capsys):
    (folder / "digits_cnn.onnx").unlink()

    assert harness(folder, "run", suite(folder), "-o", "out") == 2

    assert "real.yaml:5:13: models[0].source" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_no_matching_case_is_an_error(folder, capsys):
    assert harness(folder, "run", suite(folder), "-k", "tensorrt", "-o", "out") == 2

    assert "no case matches -k 'tensorrt'" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").is_dir(), reason="needs a folder nobody can write")
def test_an_output_folder_that_cannot_be_written_is_told_before_anything_runs(folder, capsys):
    assert harness(folder, "run", suite(folder), "-o", "/proc/self/reports") == 2

    assert "cannot be written" in capsys.readouterr().err


def test_a_file_where_the_output_folder_should_be_is_an_error(folder, capsys):
    (folder / "out").write_text("here already")

    assert harness(folder, "run", suite(folder), "-o", "out") == 2

    assert "cannot be written" in capsys.readouterr().err


def test_rows_of_a_reference_file_may_be_several_for_one_of_the_input(folder):
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Reshape", ["x", "shape"], ["y"], name="flat")],
        "flat",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["m"])],
        [numpy_helper.from_array(np.array([-1]), "shape")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), "flat.onnx")
    rows = np.arange(80, dtype=np.float32).reshape(20, 4)
    np.savez("rows.npz", x=rows, y=rows.ravel())
    (folder / "flat.yaml").write_text(
        "suite: flat\nmodels: [{name: m, source: flat.onnx, shapes: [{n: 8}], reference: {file: rows.npz},"
        " inputs: {x: {file: rows.npz, key: x}}, latency: {enabled: false}}]\n"
    )

    assert harness(folder, "run", "flat.yaml", "-o", "out") == 0

    assert record(folder).status == "new"


def test_a_slice_without_rows_is_an_input_error(folder):
    path = suite(folder)
    path.write_text(path.read_text().replace("key: images}", "key: images, slice: [900, 1000]}"))

    assert harness(folder, "run", path, "-o", "out") == 1

    assert "has no values in the slice [900, 1000]" in record(folder).headline


def test_an_operator_of_the_runtimes_own_that_takes_no_bf16_is_skipped_in_its_words(folder):
    names = ("x", "y")
    shapes = (["n", 3, 8, 8], ["n", 4, 6, 6])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True)]
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    node = helper.make_node("FusedConv", ["x", "w"], ["y"], "own", domain="com.microsoft", activation="Relu")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "own.onnx")
    (folder / "own.yaml").write_text(
        "suite: s\nmodels: [{name: own, source: own.onnx, backends: [onnxruntime-cpu], precisions: [fp32, bf16], "
        "latency: {enabled: false}}]"
    )

    assert harness(folder, "run", "own.yaml", "-o", "out") == 0

    assert [r.status for r in read_run(folder / "out").records] == ["new", "skipped"]
    assert "Type 'tensor(bfloat16)' of input parameter" in read_run(folder / "out").records[1].headline


def test_the_time_of_the_precision_twin_is_a_stage_of_the_case_that_needed_it(folder):
    assert harness(folder, "run", suite(folder), "-o", "out") == 0

    assert 0 < record(folder).stages["twin_s"] < 60


def test_a_twin_that_took_too_long_is_a_check_of_its_own_that_says_so(folder, monkeypatch):
    healthy = WorkerProcess.request

    def request(self, op, **arguments):
        if op == "twin":
            raise WorkerFailed(Failure("timeout", "twin", "twin took longer than 600 s: raise --timeout"))
        return healthy(self, op, **arguments)

    monkeypatch.setattr(WorkerProcess, "request", request)

    assert harness(folder, "run", suite(folder), "-o", "out") == 0

    (check,) = [check for check in record(folder).checks if check.metric == "twin"]
    assert check.reason.startswith("not checked, there is no precision twin (timeout: twin took longer than 600 s")
    assert "fidelity was not checked: timeout: twin took longer" in record(folder).headline
    ((told, *_), *_) = details((folder / "out/report.html").read_text())
    assert "not checked, there is no precision twin" in str(told["checks"])


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (None, 2, "no such file: 'ops.so'"),
        (b"no library", 1, "ops.so cannot be registered: "),
    ],
)
def test_a_library_of_custom_operators_that_cannot_be_used_is_named(folder, capsys, content, status, words):
    option = ("--allow-code", folder / "ops.so")
    if content is not None:
        (folder / "ops.so").write_bytes(content)
    path = suite(folder)
    path.write_text(path.read_text().replace("{threads: 1}", "{custom_ops: [ops.so]}"))

    assert harness(folder, "run", path, "-o", "out", *option) == status

    told = capsys.readouterr().err if status == 2 else record(folder).error.message
    assert words in told
    assert status == 2 or record(folder).error.kind == "input"
