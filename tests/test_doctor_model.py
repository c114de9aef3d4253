"""`harness doctor --model`: what each runtime that is here makes of a file, and one error for a file that is none."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from harness.cli import main
from harness.commands import support
from harness.commands.support_text import told as told_answer
from harness.records import Failure
from harness.records.support import Answer, Facts, Fit, Made, Parsed
from models import conv_net, custom, relu, saved


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def doctor(*arguments: object) -> int:
    return main(["doctor", "--model", *(str(argument) for argument in arguments), "--artefacts", "cache"])


def told(text: str) -> dict[str, list[str]]:
    """Runtime to the lines about it, without their indent; the model's own lines stand under ""."""
    found: dict[str, list[str]] = {"": []}
    runtime = ""
    for line in text.splitlines():
        if line and not line.startswith(" ") and runtime + line and not line.startswith(("model", "sizes", "memory")):
            runtime = line.split()[0].rstrip(":")
            found[runtime] = [line]
        elif line:
            found[runtime].append(line.strip())
    return found


def line(lines: list[str], begin: str) -> str:
    return next(one for one in lines if one.split()[0] == begin)


def test_a_supported_model_is_told_by_runtime_and_precision(folder, capsys):
    onnx.save(conv_net(), "net.onnx")

    assert doctor("net.onnx") == 0
    cpu = told(capsys.readouterr().out)["onnxruntime-cpu"]

    assert line(cpu, "parses").split()[1] == "yes"
    assert line(cpu, "fp32").split()[1] == "runs;"
    assert "host memory" in line(cpu, "fp32")
    assert "(measured)" in line(cpu, "fp32")
    assert "no: CPUs have no TF32" in line(cpu, "tf32")
    assert "computes in fp32" in line(cpu, "fp16")
    assert "NOT_IMPLEMENTED" in line(cpu, "bf16")
    assert line(cpu, "int8").split()[1] == "runs;"
    assert not any(one.startswith("version") for one in cpu)


def test_a_runtime_that_is_not_here_is_one_line_with_the_reason(folder, capsys):
    onnx.save(conv_net(), "net.onnx")

    doctor("net.onnx", "--precision", "fp32")
    absent = [lines for lines in told(capsys.readouterr().out).values() if ": absent: " in lines[0]]

    if not absent:
        pytest.skip("every runtime is here")
    assert all(len(lines) == 1 and len(lines[0].split(": absent: ")[1]) > 10 for lines in absent)


def test_only_the_precisions_that_are_asked_for_are_told(folder, capsys):
    onnx.save(conv_net(), "net.onnx")

    doctor("net.onnx", "--precision", "int8", "fp32", "--precision", "fp32")
    told_of = told(capsys.readouterr().out)

    assert [one.split()[0] for one in told_of["onnxruntime-cpu"][2:]] == ["int8", "fp32"]
    assert [one.split()[0] for one in told_of[""][-2:]] == ["int8", "fp32"]


def test_a_quantised_model_is_asked_about_as_it_is(folder, capsys):
    node = helper.make_node
    stored = [numpy_helper.from_array(value, name) for name, value in scale_and_zero().items()]
    nodes = [node("QuantizeLinear", ["x", "s", "z"], ["q"]), node("DequantizeLinear", ["q", "s", "z"], ["y"])]
    path = saved(folder / "quantised.onnx", nodes)
    model = onnx.load(path)
    model.graph.initializer.extend(stored)
    onnx.save(model, path)

    assert doctor(path) == 0
    cpu = told(capsys.readouterr().out)["onnxruntime-cpu"]

    assert [one.split()[0] for one in cpu[2:]] == ["as-is"]


def scale_and_zero():
    return {"s": np.array(0.1, np.float32), "z": np.array(0, np.int8)}


def test_every_unsupported_node_is_named_with_operator_and_reason(folder, capsys):
    assert doctor(custom(folder), "--precision", "fp32") == 1
    cpu = told(capsys.readouterr().out)["onnxruntime-cpu"]

    assert line(cpu, "parses").split()[1] == "no:"
    nodes = [one for one in cpu if one.startswith("node")]
    assert [one.split(":")[0].split(maxsplit=1)[1] for one in nodes] == [
        "node 0 (com.example.Mine)",
        "second (com.example.Other)",
    ]
    assert all("is not a registered function/op" in one for one in nodes)
    assert not any(one.startswith("fp32") for one in cpu)
    assert "not known: opset 17 with IR version 8 is no reason" in line(cpu, "version")


def test_names_in_a_model_make_no_lines_of_their_own(folder, capsys):
    forged = "\nonnxruntime-cpu 9\n  parses   yes"
    model = onnx.load(custom(folder))
    model.graph.node[2].name += forged
    model.opset_import.append(helper.make_opsetid(f"other{forged}", 1))
    onnx.save(model, "forged.onnx")

    doctor("forged.onnx", "--precision", "fp32")
    lines = capsys.readouterr().out.splitlines()

    assert sum("onnxruntime-cpu 9" in one for one in lines) >= 2  # where its words are shown
    assert not any(one.startswith("onnxruntime-cpu 9") for one in lines)


def test_a_too_new_opset_is_no_fault_of_a_node_and_no_version_is_made_up(folder, capsys):
    doctor(relu(folder, opset=90), "--precision", "fp32")
    cpu = told(capsys.readouterr().out)["onnxruntime-cpu"]

    assert "Current official support for domain ai.onnx is till opset" in line(cpu, "parses")
    assert not any(one.startswith("node") for one in cpu)
    assert "not known: opset 90 with IR version 8 is beyond what is documented" in line(cpu, "version")


def test_a_too_new_ir_version_is_told_in_the_runtimes_words(folder, capsys):
    doctor(relu(folder, ir=99), "--precision", "fp32")
    cpu = told(capsys.readouterr().out)["onnxruntime-cpu"]

    assert "Unsupported model IR version: 99" in line(cpu, "parses")
    assert "not known: opset 17 with IR version 99 is beyond" in line(cpu, "version")


def test_a_model_that_no_runtime_takes_exits_1(folder):
    assert doctor(custom(folder)) == 1


def test_a_precision_without_a_file_is_told_by_every_runtime(folder, capsys):
    onnx.save(conv_net(), "net.onnx")

    assert doctor("net.onnx", "--precision", "fp8", "fp32") == 0
    told_of = told(capsys.readouterr().out)

    assert "no file: " in line(told_of[""], "fp8")
    assert line(told_of["onnxruntime-cpu"], "fp8").split()[1] == "no:"
    assert line(told_of["onnxruntime-cpu"], "fp32").split()[1] == "runs;"


def takes_only(size: int) -> onnx.ModelProto:
    """A model that multiplies rows of this size, and does not say that it takes no other."""
    stored = numpy_helper.from_array(np.zeros((size, 4), np.float32), "w")
    values = [helper.make_tensor_value_info(*one) for one in (("x", 1, ["n", "seq"]), ("y", 1, ["n", 4]))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [stored])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_model_that_takes_only_some_sizes_is_asked_with_those_it_runs_with(folder, capsys):
    onnx.save(takes_only(64), "net.onnx")

    assert doctor("net.onnx", "--precision", "fp32") == 0
    told_of = told(capsys.readouterr().out)

    assert line(told_of[""], "sizes").split(maxsplit=1)[1] == "n=1, seq=64"
    assert line(told_of["onnxruntime-cpu"], "fp32").split()[1] == "runs;"


def test_sizes_that_a_model_does_not_run_with_are_told(folder, capsys):
    onnx.save(takes_only(77), "net.onnx")

    assert doctor("net.onnx", "--precision", "fp32", "--timeout", 60) in (0, 1)  # tensorrt-rtx may build it
    told_of = told(capsys.readouterr().out)

    assert "n=1, seq=128; ONNX Runtime ran it with no sizes that were tried" in line(told_of[""], "sizes")
    assert "dimension mismatch" in line(told_of["onnxruntime-cpu"], "fp32")


def test_no_other_sizes_are_suggested_for_a_model_that_is_refused_at_any(folder, capsys):
    refused = takes_only(64)
    refused.graph.node[0].CopyFrom(helper.make_node("Unheard", ["x", "w"], ["y"], domain="nobody"))
    refused.opset_import.append(helper.make_opsetid("nobody", 1))
    onnx.save(refused, "net.onnx")

    assert doctor("net.onnx", "--precision", "fp32", "--timeout", 60) == 1
    told_of = told(capsys.readouterr().out)

    assert line(told_of["onnxruntime-cpu"], "parses").split()[1] == "no:"
    assert line(told_of[""], "sizes").split(maxsplit=1)[1] == "n=1, seq=128"


def test_sizes_on_the_command_line_are_those_it_is_asked_with(folder, capsys):
    onnx.save(takes_only(77), "net.onnx")

    assert doctor("net.onnx", "--precision", "fp32", "--size", "seq=77", "n=5") == 0
    told_of = told(capsys.readouterr().out)

    assert line(told_of[""], "sizes").split(maxsplit=1)[1] == "n=5, seq=77"
    assert line(told_of["onnxruntime-cpu"], "fp32").split()[1] == "runs;"


def test_a_size_of_no_dimension_is_named_with_the_nearest(folder, capsys):
    onnx.save(takes_only(77), "net.onnx")

    assert doctor("net.onnx", "--size", "sek=77") == 2
    assert "no dimension 'sek', did you mean 'seq'?" in capsys.readouterr().err


def test_a_version_is_told_for_a_precision_whose_file_is_of_a_later_opset(capsys):
    answer = Answer("onnxruntime-cpu@old", "onnxruntime", "1.20.1", parsed=Parsed(), fits=(Fit(), REFUSED, REFUSED))
    made = [Made(name, facts=Facts(opset, ir=8, nodes=1, domains={})) for name, opset in PRECISION_TO_OPSET]

    told_answer(answer, Facts(17, ir=8, nodes=1, domains={}), made)
    lines = capsys.readouterr().out.splitlines()

    assert [one.split()[0] for one in lines[1:]] == ["onnxruntime-cpu@old", "parses", "fp32", "bf16", "its", "int8"]
    assert "its file: ONNX Runtime 1.21 or later" in lines[5]


PRECISION_TO_OPSET = (("fp32", 17), ("bf16", 22), ("int8", 17))
REFUSED, CRASHED = Failure("unsupported", "load", "no"), Failure("crash", "load", "gone")


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([Answer("a", "tensorrt", absent="no GPU")], 3),
        ([Answer("a", "tensorrt", absent="no GPU"), Answer("b", "tensorrt", lost=CRASHED)], 3),
        ([Answer("a", "tensorrt", parsed=Parsed(), fits=(CRASHED,))], 3),
        ([Answer("a", "tensorrt", lost=CRASHED), Answer("b", "tensorrt", parsed=Parsed("no"))], 1),
        ([Answer("a", "tensorrt", parsed=Parsed(), fits=(CRASHED, REFUSED))], 1),
        ([Answer("a", "tensorrt", parsed=Parsed(), fits=(REFUSED, Fit()))], 0),
        ([Answer("a", "tensorrt", parsed=Parsed("no")), Answer("b", "tensorrt", fits=(Fit("no GPU"),))], 0),
    ],
)
def test_the_status_tells_a_refusal_from_a_runtime_that_gave_no_answer(answers, status):
    assert support.status(answers) == status


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tensorrt_rtx_builds_what_it_parses(folder, capsys, precision):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    onnx.save(conv_net(), "net.onnx")

    assert doctor("net.onnx", "--precision", precision) == 0
    rtx = told(capsys.readouterr().out)["tensorrt-rtx"]

    assert line(rtx, "parses").split()[1] == "yes"
    assert line(rtx, precision).split()[1] in ("builds;", "runs;")
    assert "engine" in line(rtx, precision)


def test_tensorrt_rtx_names_every_node_it_does_not_take(folder, capsys):
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")

    assert doctor(custom(folder), "--precision", "fp32") == 1
    rtx = told(capsys.readouterr().out)["tensorrt-rtx"]

    nodes = [one for one in rtx if one.startswith("node")]
    assert [one.split(":")[0].split(maxsplit=1)[1] for one in nodes] == [
        "node 0 (com.example.Mine)",
        "second (com.example.Other)",
    ]
    assert all("Plugin not found" in one for one in nodes)
    assert "not known" in line(rtx, "version")


def environment(folder: Path, code: str) -> Path:
    """An interpreter that runs some code before the worker."""
    inside = folder / "inside"
    inside.mkdir()
    (inside / "sitecustomize.py").write_text(code)
    packages = Path(onnx.__file__).parents[1]
    path = folder / "python"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{inside}:{packages}" exec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def test_a_runtime_that_crashes_costs_one_line(folder, capsys):
    crash = "import os, onnxruntime\nonnxruntime.InferenceSession = lambda *_, **__: os.kill(os.getpid(), 11)\n"
    onnx.save(conv_net(), "net.onnx")

    assert doctor("net.onnx", "--precision", "fp32", "--environment", f"bad={environment(folder, crash)}") == 0
    told_of = told(capsys.readouterr().out)

    assert [one.split(":")[0] for one in told_of["onnxruntime-cpu@bad"][1:] if "version" not in one] == ["crash"]
    assert line(told_of["onnxruntime-cpu"], "fp32").split()[1] == "runs;"
    if "tensorrt-rtx" in told_of and "absent" not in told_of["tensorrt-rtx"][0]:
        assert line(told_of["tensorrt-rtx@bad"], "parses").split()[1] == "yes"


def test_an_environment_that_starts_no_worker_is_told(folder, capsys):
    program = folder / "python"
    program.write_text("#!/bin/sh\nexit 5\n")
    program.chmod(0o755)
    onnx.save(conv_net(), "net.onnx")

    assert doctor("net.onnx", "--precision", "fp32", "--environment", f"bad={program}") == 0
    lines = told(capsys.readouterr().out)["onnxruntime-cpu@bad"]

    assert "environment 'bad'" in " ".join(lines)
    assert "runs no worker" in " ".join(lines)


def broken(folder: Path) -> None:
    (folder / "empty.onnx").touch()
    onnx.save(conv_net(), folder / "net.onnx")
    (folder / "truncated.onnx").write_bytes((folder / "net.onnx").read_bytes()[:-100])
    (folder / "text.onnx").write_text("this is no model\n" * 20)
    onnx.save(conv_net(), folder / "apart.onnx", save_as_external_data=True, location="apart.data", size_threshold=0)
    (folder / "apart.data").unlink()
    onnx.save(conv_net(), folder / "short.onnx", save_as_external_data=True, location="short.data", size_threshold=0)
    (folder / "short.data").write_bytes(b"12")


def test_memory_that_is_not_known_does_not_deny_the_file(folder, capsys):
    """The file of fp32 is the model itself, whatever can be said of its memory."""
    model = onnx.load(relu(folder))
    model.graph.initializer.append(onnx.TensorProto(name="w", data_type=99, dims=[4], raw_data=b"\0" * 16))
    onnx.save(model, folder / "odd.onnx")

    assert doctor("odd.onnx", "--precision", "fp32") == 1
    lines = told(capsys.readouterr().out)

    assert line(lines[""], "fp32") == f"fp32   not known: values of type 99 are not known to onnx {onnx.__version__}"


def test_the_name_of_a_file_makes_no_line_of_its_own(folder, capsys):
    relu(folder).rename("two\nlines.onnx")

    assert doctor("two\nlines.onnx", "--precision", "fp32") == 0
    assert "model    two lines.onnx: opset" in capsys.readouterr().out


def test_a_name_that_no_runtime_can_be_told_is_one_clear_error(folder, capsys):
    relu(folder).rename("a\udcff.onnx")

    assert doctor("a\udcff.onnx") == 2
    assert capsys.readouterr().err == (
        "harness: 'a\\udcff.onnx': is no UTF-8, which runtimes need of a name: rename it\n"
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.onnx", "there is no such file"),
        (".", "is a folder"),
        ("empty.onnx", "is empty"),
        ("truncated.onnx", "is not a complete ONNX model"),
        ("text.onnx", "is not a complete ONNX model"),
        ("apart.onnx", "its weights 'apart.data' are not in"),
        ("short.onnx", "short.data"),
    ],
)
def test_a_file_that_is_no_usable_model_is_one_clear_error(folder, capsys, name, words):
    broken(folder)

    assert doctor(name) == 2
    said = capsys.readouterr()

    assert said.out == ""
    assert [words in one and one.startswith("harness: ") for one in said.err.splitlines()] == [True]


def test_an_unknown_precision_is_named_with_the_nearest(folder, capsys):
    onnx.save(conv_net(), "net.onnx")

    assert doctor("net.onnx", "--precision", "fp61") == 2
    assert "did you mean" in capsys.readouterr().err


def test_options_about_a_model_need_a_model(capsys):
    assert main(["doctor", "--size", "n=1"]) == 2
    assert main(["doctor", "--precision", "fp32"]) == 2
    assert "--model" in capsys.readouterr().err
