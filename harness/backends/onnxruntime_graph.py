"""Which precision runs in ONNX Runtime: read from the model as it optimised it, the only place where it tells."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.backends.dtypes import NAMES, Dtypes, nodes
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
OPTIMISED = "optimised.onnx"
_WEIGHTS = "optimised.data"
_QUANTISED = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger")


@cache
def workplace() -> TemporaryDirectory[str]:
    """A folder for `watch` while this process lives: to make and remove one takes as long as to load a small model."""
    return TemporaryDirectory(prefix="trt-harness-")


def watch(options: Any, folder: Path) -> None:
    """Make a session with these options write the model as it optimised it; of the weights nothing is kept.

    They are sent to the null device, through a link because ONNX Runtime wants a name beside the model.
    """
    (folder / OPTIMISED).unlink(missing_ok=True)
    if not (folder / _WEIGHTS).is_symlink():
        (folder / _WEIGHTS).symlink_to(os.devnull)
    options.optimized_model_filepath = str(folder / OPTIMISED)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", _WEIGHTS)
    options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")


def executed(folder: Path, file: Path) -> tuple[Layer, ...]:
    """The heavy nodes of the watched session's model; InputError where nothing was written."""
    return heavy(load_graph(folder / OPTIMISED), load_graph(file))


def heavy(optimised: Any, file: Any) -> tuple[Layer, ...]:
    """The heavy nodes of an optimised ModelProto: computing in what they are fed, storing what `file` stores.

    A node between Q/DQ pairs stores bytes and computes in what DequantizeLinear makes of them.
    """
    stored = {layer.name: layer.storage for layer in _heavy(file)}
    usual = set(stored.values())
    one = usual.pop() if len(usual) == 1 else UNKNOWN
    return tuple(
        Layer(layer.name, layer.kind, stored.get(layer.name, one), layer.compute, layer.kernel)
        for layer in _heavy(optimised)
    )


def _heavy(model: Any) -> Iterator[Layer]:
    """Heavy nodes in order; behind DequantizeLinear with what was quantised."""
    dtypes: Dtypes = {}
    quantised: Dtypes = {}
    for node in nodes(model, dtypes):
        if node.op_type in HEAVY:
            yield _layer(node, dtypes, quantised)
        if node.op_type == "DequantizeLinear" and node.input[0] in dtypes:
            quantised[node.output[0]] = dtypes[node.input[0]]


def _layer(node: Any, dtypes: Mapping[str, int], quantised: Mapping[str, int]) -> Layer:
    kind = "conv" if node.op_type in CONVOLUTIONS else "matmul"
    first = node.input[0]
    compute = "int8" if node.op_type.startswith(_QUANTISED) else NAMES.get(dtypes.get(first, 0), UNKNOWN)
    held = [NAMES.get(quantised[name], UNKNOWN) for name in node.input[:2] if name in quantised]
    storage = held[0] if len(held) == 2 else compute
    return Layer(node.name or node.output[0], kind, storage, compute, node.op_type)
