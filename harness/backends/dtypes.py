"""The types of all tensors of a model file, passed on from node to node by the operators' own definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from harness.backends.layers import UNKNOWN
from harness.sources.inspect import load_graph

NAMES: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
    TensorProto.FLOAT8E5M2: "fp8",
}
"""Precisions by ONNX's numbers; other types (indices, booleans) have none."""
_NUMBERS: Mapping[str, int] = dict(TensorProto.DataType.items())
_STANDARD = ("", "ai.onnx")
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")

Dtypes = dict[str, int]
"""Tensor name to ONNX's number of its type."""


def nodes(model: Any, dtypes: Dtypes) -> Iterator[Any]:
    """The nodes of a ModelProto, inner graphs first; `dtypes` fills up and knows a node's tensors when it comes."""
    return _walk(model.graph, dtypes, {entry.domain: entry.version for entry in model.opset_import})


def precisions(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """The precision of each tensor of the file, and of what each node makes, by the node's name in TensorRT."""
    dtypes: Dtypes = {}
    made = {node.name or f"node_of_{node.output[0]}": node.output[0] for node in nodes(load_graph(path), dtypes)}
    tensors = {name: NAMES.get(dtype, UNKNOWN) for name, dtype in dtypes.items()}
    return tensors, {label: tensors.get(output, UNKNOWN) for label, output in made.items()}


def _walk(graph: Any, dtypes: Dtypes, versions: Mapping[str, int]) -> Iterator[Any]:
    dtypes |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    dtypes |= {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    for node in graph.node:
        for inner in (a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH):
            yield from _walk(inner, dtypes, versions)
        for position, name in enumerate(node.output):
            made = _made(node, position, dtypes, versions)
            if name and made:
                dtypes[name] = made
        yield node


def _made(node: Any, position: int, dtypes: Mapping[str, int], versions: Mapping[str, int]) -> int:
    """The dtype of one output by the operator's own definition; outside the standard that of its first input."""
    given = next((a.i for a in node.attribute if a.name in _DTYPE_ATTRIBUTES and a.i), 0)
    if given:
        return int(given)
    value = next((a.t.data_type for a in node.attribute if a.name == "value"), 0)
    if value:
        return int(value)
    if node.domain in _STANDARD:
        try:
            schema = onnx.defs.get_schema(node.op_type, versions.get("", versions.get("ai.onnx", 1)))
            return _defined(schema, node, position, dtypes)
        except onnx.defs.SchemaError:
            pass  # an operator of ONNX Runtime's own, or newer than this onnx: as those outside the standard
    return next((dtypes[name] for name in node.input if name in dtypes), 0)


def _defined(schema: Any, node: Any, position: int, dtypes: Mapping[str, int]) -> int:
    formal = schema.outputs[min(position, len(schema.outputs) - 1)]
    for number, name in enumerate(node.input):
        same = schema.inputs[min(number, len(schema.inputs) - 1)].type_str == formal.type_str
        if same and name in dtypes:
            return dtypes[name]
    if len(formal.types) == 1:
        return _dtype(next(iter(formal.types)))
    return TensorProto.UINT8 if node.op_type == "QuantizeLinear" else 0  # what it makes without a zero point


def _dtype(words: str) -> int:
    """The number of an ONNX type such as "tensor(int64)"; 0 for what is no tensor."""
    name = words.removeprefix("tensor(").removesuffix(")").upper()
    return _NUMBERS.get(name, 0)
