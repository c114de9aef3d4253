"""What the twin needs to know of a graph: types, sizes of sums, and what quantised or half values have touched."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from onnx import TensorProto

from harness.variants.graph import graphs, nodes, reads
from harness.variants.operators import PRODUCTS, SUMS
from harness.variants.scopes import own_names

HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
QUANTISERS = frozenset(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"))


def quantised(model: Any) -> set[str]:
    """Tensors that come from quantised values."""
    return _behind_any(model, lambda node: node.op_type in QUANTISERS)


def coarse(model: Any) -> set[str]:
    """Tensors that rounding to less than float32 has touched: half types, and what comes from quantised values."""
    half = {name for name, kind in declared_types(own_names(model)).items() if kind in HALF}
    return half | _behind_any(
        model, lambda node: node.op_type in QUANTISERS or bool(half & {*node.input, *node.output})
    )


def _behind_any(model: Any, starts: Callable[[Any], bool]) -> set[str]:
    """What such nodes give, and everything that is computed from it."""
    found: set[str] = set()
    for graph in graphs(model.graph):
        for node in graph.node:  # each stands behind those it needs
            if starts(node) or not found.isdisjoint(reads(node)):
                found.update(filter(None, node.output))
    return found


def folded(model: Any) -> set[str]:
    """Names of products whose weights a runtime may multiply with a normalisation behind them, and round again."""
    normalised = {node.input[0] for node in nodes(model) if node.op_type == "BatchNormalization"}
    return {node.name for node in nodes(model) if node.op_type in PRODUCTS and node.output[0] in normalised}


def element_counts(model: Any) -> dict[str, float]:
    """Tensors to their number of elements, by the shapes that a model's graph tells; a size left open counts as one."""
    found = {}
    for graph in graphs(model.graph):
        for value in (*graph.value_info, *graph.input, *graph.output):
            kind = value.type.tensor_type
            if kind.HasField("shape"):
                found[value.name] = float(math.prod(dim.dim_value or 1 for dim in kind.shape.dim))
    return found


def summed(model: Any, counts: Mapping[str, float]) -> dict[str, float]:
    """Results of sums to the number of elements behind each, where the shapes tell."""
    shapes = {**element_counts(model), **counts}
    found = {}
    for node in nodes(model):
        if node.op_type in SUMS and node.input[0] in shapes and node.output[0] in shapes:
            kernel = next((attribute.ints for attribute in node.attribute if attribute.name == "kernel_shape"), None)
            behind = math.prod(kernel) if kernel else shapes[node.input[0]] / max(1, shapes[node.output[0]])
            found[node.output[0]] = shapes[node.input[0]] if node.op_type == "CumSum" else float(behind)
    return found


def declared_types(model: Any) -> dict[str, int]:
    """Names to ONNX element types, where the file tells them."""
    found: dict[str, int] = {}
    for graph in graphs(model.graph):
        told = {tensor.name: tensor.data_type for tensor in graph.initializer}
        told |= {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
        found |= told
    return found
