"""`harness init`: a first suite for a model, which loads, checks and runs on the machine that wrote it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness.cli import main
from harness.commands.first_suite import Measured, described, finished
from harness.inputs import proposals
from harness.inputs.outline import InputOutline, Outline
from harness.inputs.tables import outline
from harness.judge.proposed import Case, propose, up
from harness.records import Check, InputSpec, Measurement, Outcome, Verdict
from harness.store import read_run
from harness.suites import load
from harness.suites.first import text
from models import attention, conv_net
from plans import plan

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: object) -> int:
    return main(["init", *(str(argument) for argument in arguments), "--artefacts", "cache"])


def runs(suite: str) -> dict[str, str]:
    """Checks and runs a suite, quickly; case id inside the suite to status."""
    assert main(["check", suite]) == 0
    quick = "    latency: {min_time_s: 0.01, min_count: 6, warmup_s: 0}\n"
    Path(suite).write_text(Path(suite).read_text() + quick)
    assert main(["run", suite, "-o", "out", "--artefacts", "cache"]) == 0
    return {record.case.id.partition("/")[2]: record.status for record in read_run(Path("out")).records}


def model(nodes, inputs, outputs, weights=None, opset=17):
    """A checked model; values are (type, dimensions)."""
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    values = [[helper.make_tensor_value_info(n, *kind) for n, kind in side.items()] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *values, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def embedding(rows=30) -> onnx.ModelProto:
    """ids, mask [n, seq] -> hidden [n, seq, 8] and best [n, seq]; ids pick from a table of some rows."""
    weights = {"table": RNG.normal(size=(rows, 8)).astype(np.float32), "last": np.array([2], np.int64)}
    nodes = [
        helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "wide"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["m0"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["m0", "last"], ["m1"]),
        helper.make_node("Mul", ["words", "m1"], ["hidden"]),
        helper.make_node("ArgMax", ["hidden"], ["best"], axis=-1, keepdims=0),
    ]
    ints, shape = TensorProto.INT32, ["n", "seq"]
    inputs = {"ids": (ints, shape), "attention_mask": (TensorProto.INT64, shape)}
    return model(
        nodes, inputs, {"hidden": (TensorProto.FLOAT, [*shape, 8]), "best": (TensorProto.INT64, shape)}, weights
    )


def test_a_suite_for_a_net_checks_and_runs_where_it_was_written(folder, capsys):
    onnx.save(conv_net(), "net.onnx")

    assert init("net.onnx") == 0

    said = capsys.readouterr().out
    assert "net.onnx: opset 17; image float32[n, 1, 8, 8] -> logits" in said
    assert "wrote net.yaml: 6 of 6 cases measured here pass" in said
    written = Path("net.yaml").read_text()
    assert "# left out: bf16: " in written
    assert "# not run here: tensorrt: " in written
    assert "image: {normal: [0, 1], seed: 7}" in written
    assert "shapes: [{n: 1}, {n: 8}]" in written
    assert written.count("# measured ") == 8  # three limits at fp32 and at fp16, two at int8
    precisions, shapes = ("fp32", "fp16", "int8"), ("n-1", "n-8")
    assert runs("net.yaml") == {f"net/onnxruntime-cpu/{p}/{s}": "new" for p in precisions for s in shapes}


def test_limits_stand_at_their_output_and_precision_and_not_far_above_what_was_measured(folder):
    onnx.save(attention(), "block.onnx")

    assert init("block.onnx", "--precisions", "fp16") == 0

    plans = load([Path("block.yaml")])
    assert {tuple(one.output_limits) for one in plans} == {("out",)}
    assert plans[0].output_limits["out"]["rmse_rel_max"] < 0.01
    assert plans[0].dimensions == {"n": 1, "seq": 128}


def test_token_ids_stay_inside_their_table_and_masks_are_ones(folder):
    onnx.save(embedding(), "words.onnx")

    assert init("words.onnx", "--precisions", "fp32,fp16") == 0

    plans = load([Path("words.yaml")])
    assert plans[0].inputs["ids"] == InputSpec("integers", range=(0.0, 30.0), seed=7)
    assert plans[0].inputs["attention_mask"] == InputSpec("ones")
    assert "best" not in plans[0].output_limits  # integers must be equal, as they are by default
    assert set(runs("words.yaml").values()) == {"new"}


def test_a_model_of_fixed_shapes_gets_no_shapes(folder):
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    onnx.save(model(relu, {"x": (1, [2, 4])}, {"y": (1, [2, 4])}), "fixed.onnx")

    assert init("fixed.onnx", "--precisions", "fp32") == 0

    assert "shapes" not in Path("fixed.yaml").read_text().partition("\n")[2]
    assert runs("fixed.yaml") == {"fixed/onnxruntime-cpu/fp32/static": "new"}


def test_weights_beside_the_model_are_found(folder):
    external = {"save_as_external_data": True, "location": "net.bin", "size_threshold": 0}
    (folder / "models").mkdir()
    onnx.save(conv_net(), "models/net.onnx", **external)

    assert init("models/net.onnx", "-o", "first.yaml", "--precisions", "fp32") == 0

    assert "source: models/net.onnx" in Path("first.yaml").read_text()
    assert runs("first.yaml") == {f"net/onnxruntime-cpu/fp32/n-{n}": "new" for n in (1, 8)}


def test_a_model_that_takes_one_sample_only_is_run_with_one(folder):
    fixed = {"s": np.array([1, 4], np.int64)}
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    onnx.save(model(nodes, {"x": (1, ["n", 4])}, {"y": (1, ["m", 4])}, fixed), "one.onnx")

    assert init("one.onnx", "--precisions", "fp32") == 0

    assert "# left out, it does not run: n-8: " in Path("one.yaml").read_text()
    assert runs("one.yaml") == {"one/onnxruntime-cpu/fp32/n-1": "new"}


def test_sizes_are_tried_until_the_model_runs(folder):
    """Positions from a table of 40 rows: 128 tokens are too many, and so are 64."""
    weights = {"table": RNG.normal(size=(40, 4)).astype(np.float32)} | {
        name: np.array(value, np.int64) for name, value in {"zero": 0, "one": 1, "second": [1], "axis": [0]}.items()
    }
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["length"]),
        helper.make_node("Range", ["zero", "length", "one"], ["positions"]),
        helper.make_node("Gather", ["table", "positions"], ["known"]),
        helper.make_node("Add", ["x", "known"], ["y"]),
    ]
    shape = ["n", "seq", 4]
    onnx.save(model(nodes, {"x": (1, shape)}, {"y": (1, shape)}, weights), "positions.onnx")

    assert init("positions.onnx", "--precisions", "fp32") == 0

    assert "shapes: [{n: 1, seq: 32}, {n: 8, seq: 32}]" in Path("positions.yaml").read_text()


def test_a_quantised_model_is_run_as_it_is(folder):
    weights = {"scale": np.float32(0.1), "zero": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    onnx.save(model(nodes, {"x": (1, ["n", 4])}, {"y": (1, ["n", 4])}, weights), "qdq.onnx")

    assert init("qdq.onnx") == 0

    assert "precisions: [as-is]" in Path("qdq.yaml").read_text()
    assert set(runs("qdq.yaml").values()) == {"new"}


def test_a_file_that_is_there_is_never_overwritten(folder, capsys):
    onnx.save(conv_net(), "net.onnx")
    Path("net.yaml").write_text("mine")

    assert init("net.onnx") == 2

    assert "is there already" in capsys.readouterr().err
    assert Path("net.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["broken.onnx"], "broken.onnx: is not a complete ONNX model"),
        (["broken.onx"], "broken.onx: there is no such file, did you mean 'broken.onnx'?"),
        (["."], "is a folder: name the .onnx file in it"),
        (["broken.onnx", "-o", "suite.txt"], "a suite is a file that ends in .yaml or .yml"),
        (["broken.onnx", "-o", "no/suite.yaml"], "there is no folder no"),
        (["broken.onnx", "--precisions", "fp61"], "unknown precision 'fp61', did you mean 'fp16'?"),
        (["broken.onnx", "--backends", "tensort"], "unknown backend 'tensort', did you mean 'tensorrt'?"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error_and_writes_nothing(folder, capsys, arguments, words):
    Path("broken.onnx").write_bytes(b"no model")

    assert init(*arguments) == 2

    assert words in capsys.readouterr().err
    assert not list(folder.glob("*.yaml"))


def test_a_model_that_runs_with_no_inputs_we_can_make_tells_why(folder, capsys):
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    onnx.save(model(nodes, {"x": (TensorProto.STRING, ["n"])}, {"y": (TensorProto.STRING, ["n"])}), "words.onnx")

    assert init("words.onnx") == 2

    assert "values cannot be made for type string; give a file" in capsys.readouterr().err
    assert not Path("words.yaml").exists()


def test_backends_that_are_asked_for_and_absent_leave_nothing_to_measure(folder, capsys):
    onnx.save(conv_net(), "net.onnx")

    assert init("net.onnx", "--backends", "onnxruntime-tensorrt") == 3

    assert "nothing can be measured (onnxruntime-tensorrt: " in capsys.readouterr().err


def test_the_command_imports_no_runtime_and_no_onnx():
    code = "import sys, harness.commands.init; print([m for m in sys.modules if m.startswith(('onnx', 'tensorrt'))])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# --- what is proposed ----------------------------------------------------------------------------------------------


def shape_of(dtype="float32", **dims):
    """The first proposal for a model with one input of these named dimensions; an int stands for a fixed one."""
    sizes = tuple(size if size else name for name, size in dims.items())
    return next(proposals.shapes(Outline((InputOutline("x", dtype, sizes),), ("y",), 17)))


@pytest.mark.parametrize(
    ("dims", "expected"),
    [
        ({"n": 0, "c": 3, "h": 0, "w": 0}, {"n": 1, "h": 224, "w": 224}),
        ({"n": 0, "h": 0, "w": 0, "c": 3}, {"n": 1, "h": 224, "w": 224}),
        ({"batch_size": 0, "sequence_length": 0}, {"batch_size": 1, "sequence_length": 128}),
        ({"sequence": 0, "batch": 0}, {"sequence": 128, "batch": 1}),
        ({"unk__1": 0, "unk__2": 0}, {"unk__1": 1, "unk__2": 16}),
        (
            {"batch": 0, "past_sequence_length": 0, "seq": 0, "total_sequence_length": 0},
            {"batch": 1, "past_sequence_length": 16, "seq": 128, "total_sequence_length": 144},
        ),
    ],
)
def test_dimensions_get_sizes_by_name_and_place(dims, expected):
    assert shape_of(**dims)[0] == expected


def test_axes_that_a_suite_cannot_name_are_said_to_be_one():
    odd = Outline((InputOutline("x", "float32", (None, "past + seq", "seq")),), ("y",), 17)

    assert proposals.unnamed(odd) == ["axis 0 of x", "axis 1 of x ('past + seq')"]
    assert next(proposals.shapes(odd)) == ({"seq": 128},)


def test_the_smallest_table_that_an_input_picks_from_counts(tmp_path):
    weights = {"big": np.zeros((50, 2), np.float32), "small": np.zeros((2, 9), np.float32)}
    nodes = [
        helper.make_node("Gather", ["big", "ids"], ["a"]),
        helper.make_node("Gather", ["small", "ids"], ["b"], axis=1),
    ]
    whole = {"a": (1, ["n", 2]), "b": (1, [2, "n"])}
    onnx.save(model(nodes, {"ids": (TensorProto.INT64, ["n"])}, whole, weights), tmp_path / "m.onnx")

    assert outline(tmp_path / "m.onnx").inputs[0].rows == 9


def measured(**values):
    return Case("here", [Measurement("y", metric, value, {"scaled": 1.0}) for metric, value in values.items()])


def limits(precision, *cases):
    return {one.name: one.value for one in propose(precision, cases)["y"]}


def test_limits_are_twice_the_worst_error_in_two_digits_on_the_safe_side():
    cases = measured(rmse_rel=0.0123, max_abs=0.111, cosine=0.9988), measured(rmse_rel=0.01, max_abs=0.2, cosine=0.999)

    assert limits("fp16", *cases) == {"rmse_rel_max": 0.025, "max_abs": 0.4, "cosine_min": 0.9976}


def test_a_ratio_of_powers_may_fall_by_three_decibels():
    assert limits("int8", measured(rmse_rel=0.05, sqnr_db=27.34, cosine=0.999))["sqnr_min_db"] == 24


def test_no_limit_is_finer_than_rounding():
    found = limits("fp32", measured(rmse_rel=0.0, max_abs=0.0, cosine=1.0))

    assert found == {"rmse_rel_max": 2e-5, "max_abs": 8e-5, "cosine_min": 0.999998}


def test_a_metric_that_one_case_lacks_gets_no_limit():
    """An output of zeros has no cosine, and a check on it would fail."""
    assert set(limits("int8", measured(cosine=None, sqnr_db=30.0), measured(cosine=1.0, sqnr_db=30.0))) == {
        "sqnr_min_db"
    }


def test_a_file_that_runs_as_it_is_rounds_like_its_coarsest_tensors(tmp_path):
    values = {"x": (TensorProto.FLOAT16, ["n"])}, {"y": (TensorProto.FLOAT16, ["n"])}
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], *values), tmp_path / "half.onnx")

    assert outline(tmp_path / "half.onnx").rounds_as == "fp16"
    case = measured(rmse_rel=0.0)
    assert [one.value for one in propose("as-is", [case], "fp16")["y"]] == [up(2 * 2.0**-11)]


def test_integers_that_differ_get_a_share_and_others_stay_equal():
    dtype = Measurement("y", "dtype_mismatches", 0.0, {"expected": "int64"})
    cases = [Case("here", [dtype, Measurement("y", "mismatch_share", share)]) for share in (0.0, 0.011)]

    assert propose("fp16", cases[:1]) == {}
    assert limits("fp16", *cases) == {"mismatch_share_max": 0.022}


@pytest.mark.parametrize("value", [1.0, 1.01e-7, 0.999, 12345.6, -27.3])
def test_rounding_up_never_falls_below(value):
    assert value <= up(value) <= value + 0.1 * abs(value)


def test_what_is_worse_than_the_defaults_is_told_above_the_limits_that_let_it_pass():
    about = Outline((InputOutline("x", "float32", (1,)),), ("y",), 17)
    worse = Check("y/cosine_min", "budget", "y", "cosine", 0.98, 0.995, None, ok=False, reason="cosine 0.98 < 0.995")
    values = tuple(measured(cosine=0.98).measurements)
    one = Measured(plan("fp16"), Outcome(measurements=values), Verdict("failed", "", (worse,)))

    made = finished(replace(described("s", "m.onnx", about, {}), precisions=["fp16"]), about, [one], "here")

    assert made.limits["y"]["fp16"]["cosine_min"].value == pytest.approx(0.96, abs=0.002)
    assert "# worse than the default limits, is it good enough? " in text(made)


def test_a_case_that_fails_fidelity_sets_no_limit_and_is_told():
    wrong = Check("y/twin_spread", "fidelity", "y", "twin_spread", 9.0, 2.0, None, ok=False, reason="9 times noise")
    about = Outline((InputOutline("x", "float32", (1,)),), ("y",), 17)
    values = (Measurement("y", "rmse_rel", 0.5), Measurement("y", "max_abs", 5.0), Measurement("y", "cosine", 0.5))
    asked = plan("fp16")
    asked = replace(asked, case=replace(asked.case, id="s/m/fake/fp16/static"))
    broken = Measured(asked, Outcome(measurements=values), Verdict("failed", "y/twin_spread: …", (wrong,)))
    sound = Measured(plan("fp32"), Outcome(measurements=values), Verdict("new", "", ()))
    first = described("s", "m.onnx", about, {})
    made = finished(replace(first, precisions=["fp32", "fp16"]), about, [sound, broken], "here")

    assert list(made.limits["y"]) == ["fp32"]
    assert "# FAILS, and no limit hides it: s/m/fake/fp16/static: y/twin_spread: 9 times noise" in text(made)
