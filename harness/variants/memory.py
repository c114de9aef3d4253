"""How much memory a model needs, by its graph alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, shape_inference

from harness.errors import InputError
from harness.records.support import Estimate
from harness.sources.inspect import load_graph
from harness.sources.walk import tensors
from harness.variants.graph import reads

_MIB = 2.0**20
_BITS: Mapping[str, int] = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
"""Types that are stored in less than a byte."""


def estimate(path: Path, shapes: Mapping[str, Sequence[int]]) -> Estimate:
    """What an ONNX file needs when its inputs have these shapes; InputError when it or a type in it is not known.

    Tensors of inner graphs do not count among the activations; a runtime that computes in place needs less of them,
    one that works in a scratch buffer more.
    """
    model = load_graph(path)
    weights = sum(_bytes(tensor.data_type, tensor.dims) for tensor in tensors(model))
    stored = {tensor.name for tensor in model.graph.initializer}
    sizes = {name: size for name, size in _sizes(_inferred(model, shapes)).items() if name not in stored}
    made = [name for node in model.graph.node for name in node.output if name]
    unknown = sum(name not in sizes for name in made)
    return Estimate(weights / _MIB, _peak(model.graph, sizes) / _MIB, unknown)


def _inferred(model: Any, shapes: Mapping[str, Sequence[int]]) -> Any:
    for value in model.graph.input:
        if value.name in shapes:
            kind = value.type.tensor_type
            kind.CopyFrom(helper.make_tensor_type_proto(kind.elem_type, list(shapes[value.name])).tensor_type)
    for value in model.graph.output:  # its symbols may contradict what is inferred now
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    try:
        return shape_inference.infer_shapes(model, data_prop=True)
    except Exception:  # of operators that it does not know, or a file beyond protobuf's limit
        return model


def _sizes(model: Any) -> dict[str, int]:
    """Tensors of the outer graph to their bytes, where the shape is known."""
    found = {}
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        kind = value.type.tensor_type
        if kind.elem_type and kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim):
            found[value.name] = _bytes(kind.elem_type, [dim.dim_value for dim in kind.shape.dim])
    return found


def _bytes(dtype: int, dims: Sequence[int]) -> int:
    try:
        name = helper.tensor_dtype_to_string(dtype).removeprefix("TensorProto.")
        bits = _BITS.get(name, 0) or helper.tensor_dtype_to_np_dtype(dtype).itemsize * 8
    except KeyError:
        raise InputError(f"values of type {dtype} are not known to onnx {onnx.__version__}") from None
    return -(-math.prod(dims) * bits // 8)


def _peak(graph: Any, sizes: Mapping[str, int]) -> int:
    """The largest sum over tensors that are alive at one time, when nodes run in the order of the file."""
    outputs = {value.name for value in graph.output}
    last = {name: number for number, node in enumerate(graph.node) for name in reads(node)}
    alive = {value.name for value in graph.input if value.name in sizes}
    held = peak = sum(sizes[name] for name in alive)
    for number, node in enumerate(graph.node):
        made = {name for name in node.output if name in sizes} - alive
        alive |= made
        held += sum(sizes[name] for name in made)
        peak = max(peak, held)
        done = {name for name in (*made, *reads(node)) if name in alive and last.get(name, -1) <= number} - outputs
        alive -= done
        held -= sum(sizes[name] for name in done)
    return peak
