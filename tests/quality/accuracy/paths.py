"""Ways to execute a variant file; all of one precision are healthy for a file without a defect."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, version_converter
from onnx.reference import ReferenceEvaluator

from harness.backends import BACKENDS
from harness.backends.base import BuildSpec
from quality.accuracy.emulate import explicit, fused, integer_bias, jitter, split, tf32, wide
from quality.accuracy.models import Feeds

Outputs = dict[str, np.ndarray[Any, Any]]
Edit = Callable[[ModelProto], ModelProto]
NUMPY = "numpy"
"""The ONNX reference evaluator: NumPy's arithmetic, in half precision where the file says so."""


@dataclass(frozen=True)
class Route:
    """A backend with options, and what is done to the file first (arithmetic that the backend does not have)."""

    name: str
    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)
    edit: Edit | None = None


def _cpu(name: str, level: str, threads: int = 1, edit: Edit | None = None) -> Route:
    return Route(name, "onnxruntime-cpu", {"graph_optimization": level, "threads": threads}, edit)


def _chain(*edits: Edit) -> Edit:
    def run(model: ModelProto) -> ModelProto:
        for edit in edits:
            model = edit(model)
        return model

    return run


PARTS = partial(split, size=48)
"""Sums in parts: the order of additions of another kernel."""
_PLAIN = (_cpu("all", "all", 2), _cpu("basic", "basic"), _cpu("extended", "extended"))
_OTHER = (_cpu("parts", "all", 1, PARTS), _cpu("jitter", "basic", 2, jitter), Route(NUMPY, NUMPY))
_HALF = (
    _cpu("rounded", "all", 2, explicit),
    _cpu("rounded-parts", "basic", 1, _chain(explicit, PARTS)),
    _cpu("rounded-jitter", "extended", 1, _chain(explicit, jitter)),
    _cpu("fused", "all", 1, fused),
)
CPU: Mapping[str, tuple[Route, ...]] = {
    "fp32": (*_PLAIN, *_OTHER),
    "tf32": (
        _cpu("tf32-all", "all", 2, tf32),
        _cpu("tf32-parts", "basic", 1, _chain(PARTS, tf32)),
        _cpu("tf32-jitter", "basic", 1, _chain(jitter, tf32)),
        _cpu("fp32-all", "all", 2),
    ),
    "fp16": (*_PLAIN, *_HALF, Route(NUMPY, NUMPY)),
    "bf16": (_cpu("wide", "all", 2, wide), *_HALF),
    "int8": (*_PLAIN, *_OTHER, _cpu("integer-bias", "basic", 1, _chain(integer_bias, jitter))),
}
"""Ways without a GPU, where ONNX Runtime computes fp16 files in fp32 and cannot compute bf16.

NumPy adds bf16 numbers in bf16, which no GPU does: it is no healthy way there.
"""
GPU: tuple[Route, ...] = (
    Route("cuda", "onnxruntime-cuda"),
    Route("trt0", "tensorrt", {"optimization_level": 0}),
)
REFERENCE = _cpu("reference", "disable")
"""What the harness compares with: the fp32 file, as plainly as it can be run."""


def execute(route: Route, model: ModelProto, precision: str, feeds: Feeds) -> Outputs:
    """The outputs of one run of all rows; raises what the backend raises."""
    edited = route.edit(model) if route.edit else model
    if route.backend == NUMPY:
        return _numpy(edited, feeds)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "model.onnx"
        path.write_bytes(edited.SerializeToString())
        return _infer(route, path, precision, feeds)


def _infer(route: Route, path: Path, precision: str, feeds: Feeds) -> Outputs:
    backend = BACKENDS.load(route.backend)()
    emulated = precision == "tf32" and route.backend == "onnxruntime-cpu"  # which refuses it by name
    spec = spec_of(route, path, "fp32" if emulated else precision, feeds)
    session = backend.open(backend.build(spec, path.parent), spec)
    try:
        return dict(session.infer(feeds))
    finally:
        session.close()


def spec_of(route: Route, path: Path, precision: str, feeds: Feeds) -> BuildSpec:
    """What a backend is told of a file."""
    graph = onnx.load(str(path)).graph
    dtypes = {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        for value in (*graph.input, *graph.output)
    }
    profile = {name: (array.shape,) * 3 for name, array in feeds.items()}
    return BuildSpec(route.name, path, precision, profile, dtypes, route.options)


def _numpy(model: ModelProto, feeds: Feeds) -> Outputs:
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        model = version_converter.convert_version(model, 19)  # the evaluator knows it from here on
    with np.errstate(all="ignore"):
        found = ReferenceEvaluator(model).run(None, dict(feeds))
    names = [(value.name, value.type.tensor_type.elem_type) for value in model.graph.output]
    return {name: _typed(array, kind) for (name, kind), array in zip(names, found, strict=True)}


def _typed(array: Any, kind: int) -> np.ndarray[Any, Any]:
    return np.asarray(array, onnx.helper.tensor_dtype_to_np_dtype(kind), order="C")


def in_double(model: ModelProto, feeds: Feeds) -> Outputs:
    """The fp32 file evaluated in double precision."""
    wide = ModelProto()
    wide.CopyFrom(model)
    for tensor in wide.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in (*wide.graph.input, *wide.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in wide.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
    doubles = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in feeds.items()}
    return _numpy(wide, doubles)
