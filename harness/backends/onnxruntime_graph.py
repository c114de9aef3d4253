"""Which precision runs in ONNX Runtime: read from the model as it optimised it, the only place where it tells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from harness.backends.layers import UNKNOWN, Layer
from harness.sources.inspect import load_graph

CONVOLUTIONS = frozenset(("Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "NhwcConv"))
PRODUCTS = frozenset(
    (
        *("MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "MatMulNBits", "Gemm", "FusedGemm", "QGemm"),
        *("Attention", "QAttention", "MultiHeadAttention", "GroupQueryAttention", "Einsum", "LSTM", "GRU", "RNN"),
    )
)
HEAVY = CONVOLUTIONS | PRODUCTS
"""Operators that decide on a model's precision and speed."""
_OPTIMISED = "optimised.onnx"
_WEIGHTS = "optimised.data"
_NAMES: Mapping[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.FLOAT8E4M3FN: "fp8",
    TensorProto.FLOAT8E5M2: "fp8",
}
_NUMBERS: Mapping[str, int] = dict(TensorProto.DataType.items())
_STANDARD = ("", "ai.onnx")
_QUANTISED = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger")
_DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")

Dtypes = dict[str, int]
"""Tensor name to ONNX's number of its type."""


def watch(options: Any, folder: Path) -> None:
    """Make a session with these options write the model as it optimised it; of the weights nothing is kept.

    They are sent to the null device, through a link because ONNX Runtime wants a name beside the model.
    """
    (folder / _WEIGHTS).symlink_to(os.devnull)
    options.optimized_model_filepath = str(folder / _OPTIMISED)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")


def executed(folder: Path, file: Path) -> tuple[Layer, ...]:
    """The heavy nodes of the watched session's model: computing in what they are fed, storing what `file` stores.

    A node between Q/DQ pairs stores bytes and computes in what DequantizeLinear makes of them. Raises InputError where
    nothing was written.
    """
    optimised = folder / _OPTIMISED
    stored = {layer.name: layer.storage for layer in _heavy(file)}
    usual = set(stored.values())
    one = usual.pop() if len(usual) == 1 else UNKNOWN
    return tuple(
        Layer(layer.name, layer.kind, stored.get(layer.name, one), layer.compute, layer.kernel)
        for layer in _heavy(optimised)
    )


def _heavy(path: Path) -> Iterator[Layer]:
    model = load_graph(path)
    versions = {entry.domain: entry.version for entry in model.opset_import}
    return _walk(model.graph, {}, {}, versions)


def _walk(graph: Any, dtypes: Dtypes, quantised: Dtypes, versions: Mapping[str, int]) -> Iterator[Layer]:
    """Heavy nodes in order; `dtypes` of tensors and, for those from DequantizeLinear, what was `quantised`."""
    dtypes |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    dtypes |= {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info)}
    for node in graph.node:
        for inner in (a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH):
            yield from _walk(inner, dtypes, quantised, versions)
        if node.op_type in HEAVY:
            yield _layer(node, dtypes, quantised)
        if node.op_type == "DequantizeLinear" and node.input[0] in dtypes:
            quantised[node.output[0]] = dtypes[node.input[0]]
        for position, name in enumerate(node.output):
            made = _made(node, position, dtypes, versions)
            if name and made:
                dtypes[name] = made


def _layer(node: Any, dtypes: Mapping[str, int], quantised: Mapping[str, int]) -> Layer:
    kind = "conv" if node.op_type in CONVOLUTIONS else "matmul"
    first = node.input[0]
    compute = "int8" if node.op_type.startswith(_QUANTISED) else _NAMES.get(dtypes.get(first, 0), UNKNOWN)
    held = [_NAMES.get(quantised[name], UNKNOWN) for name in node.input[:2] if name in quantised]
    storage = held[0] if len(held) == 2 else compute
    return Layer(node.name or node.output[0], kind, storage, compute, node.op_type)


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
