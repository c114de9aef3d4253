"""Small suites on the fake backend, for tests of everything around a runtime."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from harness.cli import main

FAKE = """
suite: {suite}
defaults:
  reference: {{backend: fake, precision: fp32}}
  backends: [fake]
  precisions: [{precisions}]
  latency: {{min_count: 20}}
  options: {{fake: {{script: script.yaml}}}}
models:
  - {{name: small, source: small.onnx, shapes: [{{n: 1}}, {{n: 3}}]}}
"""


def small_model(path: Path, operator: str = "Relu") -> Path:
    """A one-node model, input x [n, 4], output y [n, 4]."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"], name="only")], "small", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def fake_suite(folder: Path, script: str = "cases: []\n", precisions: str = "fp32", suite: str = "toy") -> Path:
    """A suite file of two cases a precision on the fake backend, with its model and script, in a root of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").touch()
    small_model(folder / "small.onnx")
    (folder / "script.yaml").write_text(script)
    path = folder / "toy.yaml"
    path.write_text(FAKE.format(suite=suite, precisions=precisions))
    return path


def harness(folder: Path, *arguments: object) -> int:
    """Exit status of one command, with a cache of its own."""
    extra = ["--artefacts", folder / "cache"] if arguments[0] in ("run", "accept", "selftest") else []
    return main([str(argument) for argument in (*arguments, *extra)])
