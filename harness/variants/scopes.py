"""Names in inner graphs: branches of an If may use one name for different tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.variants.graph import subgraphs


def own_names(model: Any) -> Any:
    """The model, changed in place, with a name of its own for every tensor of every inner graph."""
    taken = {*_defined(model.graph)}
    for node in model.graph.node:
        for inner in subgraphs(node):
            _rename(inner, {}, taken)
    return model


def _rename(graph: Any, around: Mapping[str, str], taken: set[str]) -> None:
    """Gives what a graph defines new names where they are `taken`; `around` holds those of the graphs around it."""
    renamed = dict(around)
    for name in dict.fromkeys(_defined(graph)):
        renamed[name] = _free(name, taken)
        taken.add(renamed[name])
    for values in (graph.input, graph.output, graph.value_info, graph.initializer):
        for value in values:
            value.name = renamed.get(value.name, value.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = renamed.get(sparse.values.name, sparse.values.name)
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
        for inner in subgraphs(node):
            _rename(inner, renamed, taken)


def _free(name: str, taken: set[str]) -> str:
    number, found = 1, name
    while found in taken:
        number += 1
        found = f"{name}/scope{number}"
    return found


def _defined(graph: Any) -> Iterator[str]:
    """The tensors that a graph itself brings: its inputs, its weights and what its nodes give."""
    yield from (value.name for value in (*graph.input, *graph.initializer))
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    yield from (name for node in graph.node for name in node.output if name)
