"""Everything of one kind in an ONNX model, in subgraphs and functions too; without recursion of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def tensors(model: Any) -> Iterator[Any]:
    """Every stored TensorProto of a model: of its graph, of subgraphs and of functions."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def nodes(model: Any) -> Iterator[Any]:
    """Every node of a model, with those of subgraphs and functions."""
    for graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def graphs(model: Any) -> Iterator[Any]:
    """The graph of a model and all subgraphs, those in functions too."""
    left = [model.graph]
    for function in model.functions:
        left += _subgraphs(function.node)
    while left:
        graph = left.pop()
        yield graph
        left += _subgraphs(graph.node)


def texts(model: Any) -> Iterator[Any]:
    """Every name in a model that something is looked up by."""
    yield from (entry.domain for entry in model.opset_import)
    for node in nodes(model):
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for graph in graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for tensor in tensors(model):
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output)


def _subgraphs(nodes: Iterable[Any]) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs)
