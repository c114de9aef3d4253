"""PyTorch models in suites, as far as that needs no PyTorch: what is allowed, what is wrong, who imports it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from harness import suites
from harness.allowed import VARIABLE, allowing
from harness.backends import BACKENDS, OF_MODULES
from harness.judge.export import PREFIX, judge_export
from harness.records import Measurement, Source
from harness.runner.digests import _source
from harness.sources import FRAMEWORKS
from harness.store import read_run
from plans import plan
from toy import harness

SUITE = """
suite: s
models:
  - name: net
    source: {source}
    latency: {{enabled: false}}
    {keys}
"""
EXPORT = "export: {inputs: {x: {dims: [n, 4]}}}"
NAME = "torch:nets:net"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "nets.py").write_text("open('trace', 'a').write('nets')\n")
    (tmp_path / "net.pt2").write_bytes(b"no program")
    return tmp_path


def suite(folder: Path, source: str = NAME, keys: str = EXPORT) -> Path:
    path = folder / "s.yaml"
    path.write_text(SUITE.format(source=source, keys=keys))
    return path


@pytest.mark.parametrize(
    ("source", "option"), [(NAME, NAME), ("net.pt2", "./net.pt2"), ("torch:a.b:C.make", "torch:a.b:C.make")]
)
def test_a_pytorch_model_is_code_that_the_command_line_names(folder, capsys, source, option):
    assert harness(folder, "check", suite(folder, source)) == 2

    told = capsys.readouterr().err
    assert f"'{source}' is code, which runs only where the command line allows it: --allow-code {option}" in told
    assert harness(folder, "check", suite(folder, source), "--allow-code", option) == 0


@pytest.mark.parametrize("name", ["nets:net", "torch:nets", "torch:nets:other", "nets", "./nets.py", "torch:nets:net2"])
def test_another_name_allows_no_factory(folder, name):
    assert harness(folder, "check", suite(folder), "--allow-code", name) == 2
    assert not (folder / "trace").exists()


@pytest.mark.parametrize(
    ("source", "keys", "words"),
    [
        (NAME, "tags: [a]", "a PyTorch model does not tell its inputs"),
        (NAME, f"shapes: [{{m: 2}}]\n    {EXPORT}", "no input under `export` has the dimension 'm'; known: n"),
        (NAME, f"sha256: {'a' * 64}\n    {EXPORT}", "cannot hold for what a factory makes"),
        (NAME, "export: {inputs: {x: {dims: [n]}}, environment: gpu}", "unknown environment 'gpu'"),
        (NAME, "export: {inputs: {x: {dims: [n], dtype: float31}}}", "float31"),
        ("torch:nets", EXPORT, "must be torch:package.module:factory"),
        ("torch:../nets:net", EXPORT, "must be torch:package.module:factory"),
        ("other.pt2", EXPORT, "no such file: 'other.pt2'"),
    ],
)
def test_what_is_wrong_with_a_pytorch_model_is_told_before_anything_runs(folder, capsys, source, keys, words):
    status = harness(folder, "check", suite(folder, source, keys), "--allow-code", NAME, "--allow-code", "./other.pt2")

    assert status == 2
    assert words in capsys.readouterr().err
    assert not (folder / "trace").exists()


def test_dimensions_are_traced_at_their_largest_size_and_never_at_1(folder):
    path = suite(folder, keys="shapes: [{n: 1}, {n: 8}]\n    export: {inputs: {x: {dims: [n, 4]}, y: {dims: [m]}}}")

    with allowing([NAME]):
        plans = suites.load([path])

    assert [one.source.export.sizes for one in plans] == [{"n": 8, "m": 2}] * 2
    assert plans[0].source.beside == str(folder / "nets.py")


def test_a_plan_without_pytorch_keeps_its_digest():
    assert _source(plan()).keys() == {"kind", "path", "sha256"}


def run(folder: Path, *arguments: object, pythonpath: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(pythonpath), os.environ.get("PYTHONPATH"), *sys.path]))
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    return subprocess.run(  # noqa: PLW1510 - each test looks at the status
        command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120
    )


def traced(folder: Path, *packages: str) -> Path:
    """Packages that cannot be imported, and tell which process tried."""
    for package in packages:
        place = folder / "elsewhere" / package
        place.mkdir(parents=True)
        words = f"import os\nopen({str(folder / 'pids')!r}, 'a').write(f'{{os.getpid()}} {{os.getppid()}}\\n')\n"
        (place / "__init__.py").write_text(f"{words}raise ImportError('no {package} in this test')\n")
    return folder / "elsewhere"


@pytest.mark.parametrize(
    ("package", "framework", "extra"),
    [("torch", "PyTorch", "torch"), ("tensorflow", "TensorFlow or tf2onnx", "tensorflow")],
)
def test_a_framework_is_imported_in_a_worker_and_never_in_the_process_that_was_started(
    folder, package, framework, extra
):
    elsewhere, name = traced(folder, package), f"{package}:nets:net"
    path = suite(folder, name)

    process = run(folder, "run", path, "-o", "out", "--artefacts", "cache", "--allow-code", name, pythonpath=elsewhere)

    tried = [line.split() for line in (folder / "pids").read_text().splitlines()]
    assert process.returncode == 1, process.stderr
    assert {own for own, _ in tried}.isdisjoint({parent for _, parent in tried})
    (record,) = read_run(folder / "out").records
    assert record.status == "skipped"
    words = f"the model cannot be exported: {framework} cannot be imported (no {package} in this test)"
    assert words in record.headline
    assert f"pip install 'trt-harness[{extra}]'" in record.headline


@pytest.mark.parametrize("arguments", [["--help"], ["check"], ["run"]])
def test_nothing_imports_a_framework_where_no_case_asks_for_it(folder, arguments):
    elsewhere = traced(folder, "torch", "tensorflow", "tf2onnx", "keras")
    product(folder / "m.onnx")
    keys = "backends: [onnxruntime-cpu]\n    precisions: [fp32, fp16, int8]\n    shapes: [{n: 2}]"
    more = [] if arguments == ["--help"] else [suite(folder, "m.onnx", keys)]
    place = ["-o", "out", "--artefacts", "cache"] if arguments == ["run"] else []

    process = run(folder, *arguments, *more, *place, pythonpath=elsewhere)

    assert process.returncode == 0, process.stderr
    assert not (folder / "pids").exists()


def product(path: Path) -> None:
    """A matrix product, x [n, 4] to y [n, 3], which every precision has."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 4), ("y", 3))
    ]
    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 3), np.float32), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def measured(ratio: float) -> list[Measurement]:
    found = [
        *(Measurement(None, name, 0.0) for name in ("batches", "missing_outputs", "extra_outputs")),
        Measurement("y", "dtype_mismatches", 0.0, {"expected": "float32", "found": "float32"}, "float32"),
        Measurement("y", "nonfinite", 0.0),
        Measurement("y", "tolerance_ratio", ratio, {"rule": "sum", "atol": 1e-5, "rtol": 1e-4}),
        Measurement("y", "cosine", 1.0),
        Measurement("y", "mismatch_share", float(ratio > 1)),
    ]
    return [replace(one, metric=PREFIX + one.metric) for one in found]


@pytest.mark.parametrize(("kind", "framework"), FRAMEWORKS.items())
def test_an_export_that_is_not_what_its_framework_computes_fails_whatever_the_limits_of_the_case_are(kind, framework):
    lenient = replace(plan(), source=Source(kind, "net"), limits={"max_abs": 1e9})

    checks = judge_export(lenient, measured(7.0))

    assert checks
    assert all(not check.ok and check.name.startswith("export/y/") for check in checks)
    assert all(f"the export is not what {framework} computes" in check.reason for check in checks)


def test_an_export_that_holds_is_one_check_and_a_file_has_none():
    (check,) = judge_export(plan(), measured(0.5))

    assert check.ok
    assert (check.name, check.question, check.value) == ("export", "fidelity", 0.5)
    assert judge_export(plan(), []) == []


def test_the_backends_of_modules_are_all_those_of_pytorch():
    assert {name for name in BACKENDS if "pytorch" in BACKENDS[name]} == OF_MODULES
