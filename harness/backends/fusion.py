"""Which nodes of the file no layer names, and what the file itself says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from harness.records.fusion import Fused, Fusion, Unnamed

_RANDOM = frozenset(
    ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
)
REASONS = ("constant", "unused", "repeated", "region", "untold")


@dataclass(frozen=True)
class FileNode:
    """One node of the outer graph of a file."""

    label: str
    """Its name; of one without a name that of its output."""
    parsed: str
    """What TensorRT's parser calls it."""
    fate: str
    """"constant" (it depends on no input), "unused" (no output depends on it), "repeated" (an earlier node computes
    the same) or empty."""


def label(node: Any) -> str:
    """The name of a node; of one without a name that of its output."""
    return str(node.name or next(iter(node.output), node.op_type))


def file_nodes(graph: Any) -> tuple[FileNode, ...]:
    """The nodes of a GraphProto in their order, those of inner graphs not counted."""
    fates = dict.fromkeys(repeated(graph.node), "repeated")
    fates |= dict.fromkeys(set(range(len(graph.node))) - _needed(graph), "unused")
    fates |= dict.fromkeys(constant(graph), "constant")
    return tuple(
        FileNode(
            label(node),
            node.name or f"node_of_{next(iter(node.output), '')}",  # getNodeName of the open parser, since 8.0
            fates.get(place, ""),
        )
        for place, node in enumerate(graph.node)
    )


def repeated(nodes: Sequence[Any]) -> set[int]:
    """Places of nodes that do to the same tensors what an earlier one does."""
    first: dict[tuple[Any, ...], Any] = {}
    same: dict[str, str] = {}
    found: set[int] = set()
    for place, node in enumerate(nodes):
        if node.op_type == "Constant" or node.op_type in _RANDOM:  # a constant may be large, and is told as one anyway
            continue
        settings = sorted(attribute.SerializeToString(deterministic=True) for attribute in node.attribute)
        read = tuple(same.get(name, name) for name in node.input)
        earlier = first.setdefault((node.domain, node.op_type, read, *settings), node)
        if earlier is not node and len(earlier.output) == len(node.output):
            made = {name: other for name, other in zip(node.output, earlier.output, strict=True) if name}
            if all(made.values()):  # optional outputs that are not asked for have no name
                found.add(place)
                same |= made
    return found


def fusion(layers: Sequence[Fused], nodes: Sequence[FileNode] | None) -> Fusion:
    """The layers, and the nodes that none of them names with the reason; without `nodes` nothing is said of those."""
    if nodes is None:
        return Fusion(tuple(layers))
    named = {name for layer in layers for name in layer.nodes}
    untold = "region" if any(layer.opaque for layer in layers) else "untold"
    missing = [(node.fate or untold, node.label) for node in nodes if node.label not in named]
    found = {why: tuple(label for reason, label in missing if reason == why) for why in REASONS}
    unnamed = tuple(Unnamed(why, len(labels), labels) for why, labels in found.items() if labels)
    return Fusion(tuple(layers), len(nodes), unnamed)


def constant(graph: Any) -> set[int]:
    """Places of nodes that depend on weights and constants alone."""
    known = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    found: set[int] = set()
    for place, node in enumerate(graph.node):
        if node.op_type not in _RANDOM and not node.domain and all(name in known for name in _reads(node) if name):
            found.add(place)
            known |= set(node.output)
    return found


def _needed(graph: Any) -> set[int]:
    """Places of nodes on which an output of the graph depends."""
    wanted = {value.name for value in graph.output}
    found: set[int] = set()
    for place, node in reversed([*enumerate(graph.node)]):
        if wanted.intersection(node.output):
            found.add(place)
            wanted |= set(filter(None, _reads(node)))  # what has no name is left out, read or made
    return found


def _reads(node: Any) -> Iterator[str]:
    """What a node reads, inner graphs included: names of theirs count as well, which only makes it depend on more."""
    yield from node.input
    inner = chain.from_iterable((attribute.g, *attribute.graphs) for attribute in node.attribute)
    for graph in inner:
        yield from (value.name for value in graph.output)
        for one in graph.node:
            yield from _reads(one)
