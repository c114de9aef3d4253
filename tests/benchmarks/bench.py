"""What the benchmarks share: the command, and the suites that they run it on."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Tell = Callable[..., None]

CONSOLE = Path(sysconfig.get_path("scripts")) / "harness"
"""The installed command, as a user starts it."""
DIGITS = Path(__file__).parents[2] / "suites/digits/digits_cnn.onnx"
QUICK = "{min_count: 20, warmup_s: 0, min_time_s: 0.001}"


def suite(folder: Path, defaults: str, names: Sequence[str], source: Path) -> Path:
    """A suite file of models that differ in their names only."""
    (folder / "pyproject.toml").touch()  # the root that no path may leave
    copy = folder / source.name
    if not copy.exists():
        copy.write_bytes(source.read_bytes())
    models = [f"  - {{name: {name}, source: {source.name}}}" for name in names]
    path = folder / "bench.yaml"
    path.write_text("\n".join(["suite: bench", f"defaults: {{{defaults}}}", "models:", *models, ""]))
    return path


def ten_thousand(folder: Path) -> Path:
    """500 models x 2 backends x 5 precisions x 2 shapes, every model with keys of its own."""
    (folder / "pyproject.toml").touch()
    small_model(folder / "small.onnx")
    keys = (
        "source: small.onnx",
        "backends: [onnxruntime-cpu, tensorrt]",
        "precisions: [fp32, tf32, fp16, bf16, int8]",
        "shapes: [{n: 1}, {n: 8}]",
        "accuracy: {fp16: {cosine_min: 0.999}}",
        "latency: {regression: 3%, min_time_s: 0.5}",
    )
    models = "".join(f"  - name: model-{i}\n" + "".join(f"    {key}\n" for key in keys) for i in range(500))
    path = folder / "bench.yaml"
    path.write_text(f"suite: bench\nmodels:\n{models}")
    return path


def small_model(path: Path) -> Path:
    """One node; input x [n, 4], output y [n, 4]."""
    return _model(path, [helper.make_node("Relu", ["x"], ["y"])], ["n", 4], ["n", 4], {})


def wide_model(path: Path, row: Sequence[int]) -> Path:
    """One node that spreads every number of x [n, 1, ...] over a row of y [n, *row]."""
    ones = [1] * len(row)
    nodes = [helper.make_node("Expand", ["x", "shape"], ["y"])]
    return _model(path, nodes, ["n", *ones], ["n", *row], {"shape": np.array([1, *row])})


def _model(path: Path, nodes: list, x: list, y: list, constants: dict[str, np.ndarray]) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (("x", x), ("y", y))]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "bench", values[:1], values[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
