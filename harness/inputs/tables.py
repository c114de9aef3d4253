"""Reads an outline from a model file: which inputs pick rows of which tables, and whether it is an fp32 model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.inputs.outline import InputOutline, Outline
from harness.sources.inspect import dtype_name, inspect, load_graph
from harness.sources.walk import tensors

PICKS = {"Gather": 0, "GatherElements": 0}
"""Operators that take rows of their first input by their second, and the axis they do it on by default."""
KEEPS = frozenset({"Cast", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Expand"})
"""Operators whose output holds nothing but values of their first input."""
QUANTISED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
NARROW = {"float4": "fp8", "float6": "fp8", "float8": "fp8", "bfloat16": "bf16", "float16": "fp16"}
"""How the names of narrow types begin, to the precision that rounds like them or less; the coarsest first."""


def outline(model: Path) -> Outline:
    """The outline of an ONNX file; InputError when it is not a usable one. Weights outside the file are not read."""
    info, proto = inspect(model), load_graph(model)
    rows = _rows(proto.graph)
    only_as_is, rounds_as = _as_is(proto)
    return Outline(
        inputs=tuple(InputOutline(t.name, t.dtype, t.dims, t.kind, rows.get(t.name)) for t in info.inputs),
        outputs=tuple(tensor.name for tensor in info.outputs),
        opset=info.opset,
        only_as_is=only_as_is,
        rounds_as=rounds_as,
    )


def _rows(graph: Any) -> dict[str, int]:
    """Input name to the rows of the smallest table that it picks from."""
    sizes: dict[str, tuple[int, ...]] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    origin = {value.name: value.name for value in graph.input if value.name not in sizes}
    found: dict[str, int] = {}
    for node in graph.node:  # sorted: ONNX requires it
        if not node.output:  # it makes nothing; a runtime refuses it
            continue
        _follow(node, sizes, origin)
        table, picked = (*node.input, "", "")[:2]
        if node.op_type in PICKS and table in sizes and picked in origin:
            shape, axis = sizes[table], _axis(node)
            if -len(shape) <= axis < len(shape):
                name = origin[picked]
                found[name] = min(shape[axis], found.get(name, shape[axis]))
    return found


def _follow(node: Any, sizes: dict[str, tuple[int, ...]], origin: dict[str, str]) -> None:
    """Note what a node makes: a table (constant, cast or dequantised), or values of an input."""
    first = next(iter(node.input), "")
    if node.op_type == "Constant":
        for attribute in node.attribute:
            if attribute.name == "value":
                sizes[node.output[0]] = tuple(attribute.t.dims)
    elif node.op_type in ("Cast", "Identity", "DequantizeLinear") and first in sizes:
        sizes[node.output[0]] = sizes[first]
    elif node.op_type in KEEPS and first in origin:
        origin[node.output[0]] = origin[first]


def _axis(node: Any) -> int:
    given: Mapping[str, int] = {attribute.name: attribute.i for attribute in node.attribute}
    return int(given.get("axis", PICKS[node.op_type]))


def _as_is(model: Any) -> tuple[str, str]:
    """Why a model is none of fp32 (or nothing), and the precision whose rounding it has."""
    quantised = {node.op_type for node in model.graph.node if node.op_type.startswith(QUANTISED)}
    if quantised:
        return f"is quantised already ({', '.join(sorted(quantised))})", "int8"
    stored = {dtype_name(tensor.data_type) for tensor in tensors(model)}
    stored |= {dtype_name(value.type.tensor_type.elem_type) for value in (*model.graph.input, *model.graph.output)}
    narrow = sorted(name for name in stored if name.startswith(tuple(NARROW)))
    coarsest = (like for prefix, like in NARROW.items() if any(name.startswith(prefix) for name in narrow))
    return (f"holds {', '.join(narrow)} tensors", next(coarsest)) if narrow else ("", "fp32")
